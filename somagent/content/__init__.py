"""Content store: bytes under their digest, which is checked at every read."""
