"""Repositories: queries and changes by subject, on the connection of one transaction."""
