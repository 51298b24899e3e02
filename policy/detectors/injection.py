"""Detector `signals.injection`: attempts to steer a model: overrides, role marks, hidden text, exfiltration.

The score is a hint, not a defence by itself: a plain instruction without any of these marks passes. Before words are
searched, compatibility forms are folded, invisible characters are removed and encoded runs are decoded. Invisible
characters have honest uses (flags, Arabic beside English, Persian and Indic spelling, emoji), which do not count.
"""

import unicodedata

import re2

from policy.detectors.argument_text import LIMIT, Reading
from policy.detectors.injection_patterns import OVERRIDES, STEERING
from policy.detectors.patterns import Finder, Pattern, combine

TAG_BASE = 0xE0000
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\U000e0100-\U000e01ef"
)
"""Characters removed before words are searched."""

UNSEEN = re2.compile(f"[{INVISIBLE}]+")
TAGS = re2.compile("[\U000e0020-\U000e007e]")
TAG_LETTERS = {TAG_BASE + code: chr(code) for code in range(0x20, 0x7F)}

FLAG = re2.compile("\N{WAVING BLACK FLAG}[\U000e0061-\U000e007a]{2,6}\U000e007f")
RIGHT_TO_LEFT = re2.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

HIDDEN = Finder(
    (
        Pattern("tag characters", "[\U000e0020-\U000e007e]", 0.9),
        Pattern("variation selectors in a row", "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3}", 0.8),
        Pattern("bidirectional override", "[\u202d\u202e]", 0.7),
        Pattern("zero width inside a word", "[A-Za-z][\u200b\u200c\u200d\u2060\ufeff]{1,8}[A-Za-z]", 0.5),
        Pattern("zero width in a row", "[\u200b\u200c\u2060\ufeff]{3}", 0.6),
    )
)
ISOLATES = Finder((Pattern("direction marks without such writing", "[\u202a\u202b\u2066\u2067\u2068]", 0.5),))


def find_hidden(text: str) -> list[Pattern]:
    """Return the patterns of hidden characters in a text."""
    if text.isascii():
        return []
    plain = FLAG.sub("", text).encode("utf-8", "replace")
    found = HIDDEN.find(plain)
    return found if RIGHT_TO_LEFT.search(text) else found + ISOLATES.find(plain)


def visible_text(text: str) -> str:
    """Return the text without invisible characters, and tag characters as the letters that a model takes them for."""
    if TAGS.search(text):
        text = text.translate(TAG_LETTERS)
    seen: str = UNSEEN.sub("", text)
    return seen


WORDS = Finder(OVERRIDES + STEERING)
INSIDE_ENCODED = 0.4
"""Additional score for a mark in an encoded run, because nobody encodes an instruction by accident."""

UNFOLDED = 2 * LIMIT
"""Characters after folding; one character may stand for eighteen. Beyond, the text counts as not read."""
PIECE = 4096
"""Characters folded at a time, so that a text which grows is detected early."""


def injection(reading: Reading) -> float:
    """Return the detector score from 0.0 to 1.0."""
    text = _fold(reading.text) if reading.whole else None
    if text is None:
        return 1.0
    inside = WORDS.find(_fold(reading.decoded) or b"") if reading.decoded else []
    kinds = {kind.name: kind for kind in (*WORDS.find(text), *inside, *find_hidden(reading.text))}
    return combine([kind.strength for kind in kinds.values()] + [INSIDE_ENCODED] * bool(inside))


def _fold(text: str) -> bytes | None:
    if not text.isascii():
        pieces: list[str] = []
        length = 0
        plain = visible_text(text)
        for start in range(0, len(plain), PIECE):
            pieces.append(unicodedata.normalize("NFKC", plain[start : start + PIECE]))
            length += len(pieces[-1])
            if length > UNFOLDED:
                return None
        text = "".join(pieces)
    return text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower().encode("utf-8", "replace")
