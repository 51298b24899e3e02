"""The resource `notifications`."""
