"""Telling people what waits for them, outside of the platform. Nothing here decides, and no answer is taken back in."""
