"""Capsule files: text to a checked capsule, with every problem at its line and path. Knows no store and no network."""
