"""What stands before and around every endpoint: limits, metrics, problem documents, policy headers."""
