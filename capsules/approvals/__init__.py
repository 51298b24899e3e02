"""Approvals: a person's yes or no to one action, the rules of who may decide, delegations and standing grants."""
