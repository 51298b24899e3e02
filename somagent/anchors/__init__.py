"""Where block digests are anchored outside of the database: a file, and by option a store that answers HTTP PUT."""
