"""The governance plugin: the gate in front of the activities of another Temporal application."""
