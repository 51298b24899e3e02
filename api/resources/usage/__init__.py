"""The resource `usage`."""
