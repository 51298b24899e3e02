"""Governance of other Temporal applications: the marker on activities and the application's terms."""
