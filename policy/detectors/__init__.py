"""Detectors: scores from 0.0 to 1.0 for secrets, personal data and prompt injection in an action's arguments."""
