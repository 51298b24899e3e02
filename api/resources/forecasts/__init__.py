"""The resource `forecasts`."""
