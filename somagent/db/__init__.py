"""PostgreSQL: one transaction for one tenant at a time. Rows never leave this package."""
