"""The resource `approvals`."""
