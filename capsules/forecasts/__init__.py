"""Forecasts: a run's expected usage, with an interval."""
