"""Capsules: publish, list, show, validate, and start a run."""
