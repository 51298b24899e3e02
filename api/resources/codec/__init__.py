"""The resource `codec`."""
