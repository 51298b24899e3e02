"""Forecasts of runs, learned from a tenant's completed runs."""
