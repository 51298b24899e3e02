"""Capsule files: from text to a checked capsule, with the line and path of each problem. No database, no network."""
