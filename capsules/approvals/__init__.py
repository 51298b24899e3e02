"""Approvals: people's answers about actions, the rules for approvers, delegations and standing grants."""
