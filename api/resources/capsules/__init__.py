"""Capsules: publish, list, show, validate."""
