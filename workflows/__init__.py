"""Workflows: deterministic and durable, no effects. They import activities, capsules and `policy.temporal_errors`."""
