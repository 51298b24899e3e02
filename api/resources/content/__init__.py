"""The resource `content`."""
