"""Names of the Temporal headers that travel from workflow to gate."""

AUTHORITY = "somagent-authority"
"""The authority token under which an activity, or a child workflow, is asked for."""

CAPSULE = "somagent-capsule"
"""`name@version` of the run's capsule."""
