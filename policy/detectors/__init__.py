"""Detectors: scores between 0.0 and 1.0 of what is found in the text of an action's arguments."""
