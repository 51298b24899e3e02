"""Runs: admission, and the settling of runs that ended outside their workflow."""
