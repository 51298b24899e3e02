"""How many examples a property test draws, where the profile's own number does not fit."""

from hypothesis import settings

GATE_EXAMPLES = 30


def examples(in_the_gate: int) -> int:
    """Return that number in the gate, and as many times more at random as the random profile draws more."""
    return in_the_gate * settings.default.max_examples // GATE_EXAMPLES
