"""Memory: embeddings by a local model, and items in PostgreSQL with pgvector, separate for each tenant."""
