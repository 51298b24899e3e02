"""Tenants of the installation."""
