"""The resource `documentation`."""
