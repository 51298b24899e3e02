"""Language models: profiles by role, prices, and one client for all kinds of providers."""
