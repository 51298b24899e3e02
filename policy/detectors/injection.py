"""`signals.injection`: marks of a text that means to steer the model: overrides, role marks, hiding, carrying away.

A hint, never a defence by itself: an instruction in plain words that names none of this passes. Words are looked for
after compatibility forms are folded, invisible characters removed and encoded runs opened.
"""

import unicodedata

from policy.detectors.argument_text import LIMIT, Reading
from policy.detectors.hidden_characters import hidden, shown
from policy.detectors.injection_marks import STEERING
from policy.detectors.override_phrases import OVERRIDES
from policy.detectors.patterns import Finder, together

WORDS = Finder(OVERRIDES + STEERING)
INSIDE_ENCODED = 0.4
"""What it adds that the mark was found in an encoded run: nobody encodes an instruction by accident."""

UNFOLDED = 2 * LIMIT
"""Characters after folding; one character may stand for eighteen. Beyond, the text counts as not read."""
PIECE = 4096
"""Characters folded at a time, so that a text which grows is noticed early."""


def injection(reading: Reading) -> float:
    """Measure."""
    text = _folded(reading.text) if reading.whole else None
    if text is None:
        return 1.0
    inside = WORDS.found(_folded(reading.decoded) or b"") if reading.decoded else []
    kinds = {kind.name: kind for kind in (*WORDS.found(text), *inside, *hidden(reading.text))}
    return together([kind.strength for kind in kinds.values()] + [INSIDE_ENCODED] * bool(inside))


def _folded(text: str) -> bytes | None:
    if not text.isascii():
        pieces: list[str] = []
        length = 0
        plain = shown(text)
        for start in range(0, len(plain), PIECE):
            pieces.append(unicodedata.normalize("NFKC", plain[start : start + PIECE]))
            length += len(pieces[-1])
            if length > UNFOLDED:
                return None
        text = "".join(pieces)
    return text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower().encode("utf-8", "replace")
