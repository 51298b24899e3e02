"""Regular expressions that a grammar can follow: whole-string, of plain characters, classes, groups and counts."""

import re

MOST_REPEATS = 1_000
CLASSES = {r"\d": "[0-9]", r"\w": "[A-Za-z0-9_]", r"\.": "[.]", r"\-": "-", r"\/": "/"}
# What would let the grammar write a quote or leave the string: any-character, negated classes, escapes, quotes.
UNSAFE = re.compile(r"""[\\"]|\(\?|\[\^|\$.|.\^(?!\])""", re.DOTALL)


def grammar_pattern(pattern: object) -> str | None:
    """Return the pattern as the grammar takes it, or None when it cannot and only validation can hold it."""
    if not isinstance(pattern, str) or not (pattern.startswith("^") and pattern.endswith("$")):
        return None
    plain = _translated(pattern)
    if UNSAFE.search(plain) or "." in re.sub(r"\[[^\]]*\]", "", plain) or not plain.isascii():
        return None
    try:
        re.compile(plain)
    except re.error:  # contradictory counts such as {5,3} among them
        return None
    counts = [int(count) for count in re.findall(r"\d+", " ".join(re.findall(r"\{([\d,]+)\}", plain)))]
    return plain if all(count <= MOST_REPEATS for count in counts) else None


def _translated(pattern: str) -> str:
    """Replace escapes by classes, outside of classes; an escape inside one stays and is refused."""
    outside = re.split(r"(\[[^\]]*\])", pattern)
    return "".join(
        part if part.startswith("[") else re.sub(r"\\.", lambda found: CLASSES.get(found[0], found[0]), part)
        for part in outside
    )
