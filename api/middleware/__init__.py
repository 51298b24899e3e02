"""Middleware of every endpoint: limits, checks of bodies, metrics, problem documents, policy headers."""
