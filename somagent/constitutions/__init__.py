"""Adapter of SomaBrain: gives it the active constitution by HTTP."""
