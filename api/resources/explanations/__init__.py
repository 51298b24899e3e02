"""Explanation and evidence of a run."""
