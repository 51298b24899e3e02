"""Event stream of a run."""
