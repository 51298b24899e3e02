"""Constitutions, proposals and votes."""
