"""Governance of Temporal applications: the activity marker `@governed` and the terms of an application."""
