"""The resource `events`."""
