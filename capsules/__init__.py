"""What things are: capsules, actions, verdicts, budgets, receipts, events, errors and ports.

Pure domain: stdlib, pydantic and, in `expressions` and `digest` alone, one deterministic library each. No clock, no
network, no randomness, no file: time, ids and bytes arrive as arguments. Every other package may import this one and
this one imports none of ours.
"""
