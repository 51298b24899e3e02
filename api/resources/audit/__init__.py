"""The resource `audit`."""
