"""The resource `tokens`."""
