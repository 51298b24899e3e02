"""The resource `standing_grants`."""
