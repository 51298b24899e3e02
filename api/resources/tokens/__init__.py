"""Access tokens and principals."""
