"""The resource `retention`."""
