"""The resource `delegations`."""
