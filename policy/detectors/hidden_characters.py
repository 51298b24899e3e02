"""Characters that a person does not see and a model reads: tags, bidirectional overrides, zero-width ones.

Each has an honest use (flags, Arabic beside English, Persian and Indic spelling, emoji); those uses are told apart.
"""

import re2

from policy.detectors.patterns import Finder, Kind

TAG_BASE = 0xE0000
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\U000e0100-\U000e01ef"
)
"""What is taken out before words are looked for."""

UNSEEN = re2.compile(f"[{INVISIBLE}]+")
TAGS = re2.compile("[\U000e0020-\U000e007e]")
TAG_LETTERS = {TAG_BASE + code: chr(code) for code in range(0x20, 0x7F)}

FLAG = re2.compile("\N{WAVING BLACK FLAG}[\U000e0061-\U000e007a]{2,6}\U000e007f")
RIGHT_TO_LEFT = re2.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

HIDDEN = Finder(
    (
        Kind("tag characters", "[\U000e0020-\U000e007e]", 0.9),
        Kind("variation selectors in a row", "[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3}", 0.8),
        Kind("bidirectional override", "[\u202d\u202e]", 0.7),
        Kind("zero width inside a word", "[A-Za-z][\u200b\u200c\u200d\u2060\ufeff]{1,8}[A-Za-z]", 0.5),
        Kind("zero width in a row", "[\u200b\u200c\u2060\ufeff]{3}", 0.6),
    )
)
ISOLATES = Finder((Kind("direction marks without such writing", "[\u202a\u202b\u2066\u2067\u2068]", 0.5),))


def hidden(text: str) -> list[Kind]:
    """Return what is hidden in a text."""
    if text.isascii():
        return []
    plain = FLAG.sub("", text).encode("utf-8", "replace")
    found = HIDDEN.found(plain)
    return found if RIGHT_TO_LEFT.search(text) else found + ISOLATES.found(plain)


def shown(text: str) -> str:
    """Return the text without invisible characters, and tag characters as the letters that a model takes them for."""
    if TAGS.search(text):
        text = text.translate(TAG_LETTERS)
    seen: str = UNSEEN.sub("", text)
    return seen
