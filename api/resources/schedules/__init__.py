"""The resource `schedules`."""
