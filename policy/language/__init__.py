"""Language of constitutions: CEL typed against the action schema, and its translation to Z3.

The CEL library (`capsules.expressions`) decides; `z3_terms` translates the same tree. A differential test compares
them, so that a proof is about the code that decides.
"""
