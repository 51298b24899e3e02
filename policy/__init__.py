"""Policy: constitutions, scores, verdicts, proofs, detectors, and the interceptor before every effect.

It imports no adapters, workflows or activities. The ledger, tokens and other outside parts are given as ports.
"""
