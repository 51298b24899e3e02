"""Sandbox: isolated containers in which tools run, and the image of them. Imports `capsules` only."""
