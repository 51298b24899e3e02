"""Forecasts of what a run will use, with an interval."""
