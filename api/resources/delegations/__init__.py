"""Delegations of capabilities for approvals."""
