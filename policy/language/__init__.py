"""The expression language of constitutions: CEL text, typed against the action schema, with two readings.

The evaluator (a library, `capsules.expressions`) decides; `logic` translates the same tree to Z3. A differential test
compares both, so that a proof is about the code that decides.
"""
