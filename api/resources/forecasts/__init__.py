"""Forecasts of usage and their accuracy."""
