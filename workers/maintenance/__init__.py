"""Periodic maintenance in the relay process."""
