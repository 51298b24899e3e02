"""Artifact content by digest."""
