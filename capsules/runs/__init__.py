"""Runs: a run's start, state, report and lock."""
