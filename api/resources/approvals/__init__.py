"""Approvals: list, show, decide, edit and attest."""
