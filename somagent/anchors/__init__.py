"""Anchors of audit blocks outside of the database: a file, and optionally a store that answers HTTP PUT."""
