"""Repositories: one for each kind of row, all used inside one transaction."""
