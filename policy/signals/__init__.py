"""Signals: what detectors measure of an action's text, and what the store remembers of actor and target.

Pure functions of their evidence, from 0 to 1. Expressions read them as `signals.*` and `actor.standing`; proofs take
them as free variables. They hint at danger and miss some of it: docs/signals.md says what each cannot see.
"""
