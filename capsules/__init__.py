"""Data model: capsules, actions, verdicts, approvals, budgets, receipts, events, errors, and the ports beside them.

Pure code: standard library, Pydantic and, in `expressions` and `digest` only, one deterministic library each. No clock,
network, randomness or file: times, ids and bytes are arguments. Every package may import it; it imports none of ours.
"""
