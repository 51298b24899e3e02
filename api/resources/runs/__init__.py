"""Runs: start, list, show and control."""
