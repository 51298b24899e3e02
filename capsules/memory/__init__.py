"""Memory: items that runs leave for later runs, and the ports for memories and embeddings."""
