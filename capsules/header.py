"""Name of the Temporal header that travels from workflow to gate."""

AUTHORITY = "somagent-authority"
"""The authority token under which an activity is asked for."""
