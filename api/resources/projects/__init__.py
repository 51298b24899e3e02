"""Projects: accounts below the tenant's."""
