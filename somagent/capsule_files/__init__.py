"""Capsule files: from text to a checked capsule, with the line and path of every problem. No store, no network."""
