"""The resource `constitutions`."""
