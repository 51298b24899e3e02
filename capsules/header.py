"""Names of the Temporal headers that travel from workflow to gate."""

AUTHORITY = "somagent-authority"
"""The authority token under which an activity is asked for."""

WAITED = "somagent-waited"
"""The approval that the workflow waits for itself, empty when it has not been asked for yet (`workflows.governed`)."""
