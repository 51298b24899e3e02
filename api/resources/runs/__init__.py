"""The resource `runs`."""
