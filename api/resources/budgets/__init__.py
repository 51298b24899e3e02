"""The resource `budgets`."""
