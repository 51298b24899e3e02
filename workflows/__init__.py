"""Temporal workflows: deterministic code without effects. Imports: activities, capsules, policy.temporal_errors."""
