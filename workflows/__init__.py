"""What happens, in order: deterministic, durable, no effects. Imports activities, capsules and `policy.failures`."""
