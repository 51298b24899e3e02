"""Memory: vectors by a local model, items in PostgreSQL with pgvector, a tenant apart from the next."""
