"""The expression language of constitutions: CEL text, typed against the action schema, with three readings.

The evaluator (a library, `capsules.expressions`) decides; `logic` says the same to Z3, `arrays` to NumPy. A
differential test holds the three together, which makes a proof one about the code that decides.
"""
