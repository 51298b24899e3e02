"""Principals of a tenant."""
