"""Runs: start, list, show, control and follow; receipts and artifacts."""
