"""Content-addressed bytes: stored under their digest, checked against it whenever they are read."""
