"""Retention terms and legal holds."""
