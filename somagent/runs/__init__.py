"""Runs: admission, and the reconciliation of runs that ended outside of their workflow."""
