"""Forecasts of tokens from real runs: ridge regression for the likeliest, conformal prediction for the interval."""
