"""What happens, in order: deterministic, durable, without an effect of its own. Imports activities and capsules."""
