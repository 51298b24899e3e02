"""The resource `capsules`."""
