"""The resource `policy`."""
