"""Forecasts from a tenant's completed runs."""
