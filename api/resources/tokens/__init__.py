"""Access tokens and token families."""
