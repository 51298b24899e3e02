"""What is allowed: constitution, score, verdicts, and the interceptor that stands before every effect.

May not import adapters, workflows or activities; what it needs of the outside (ledger, tokens) it is given as ports.
"""
