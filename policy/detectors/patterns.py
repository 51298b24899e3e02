"""Patterns matched in linear time by RE2, which never backtracks, so no text can make it slow.

Patterns see UTF-8 bytes. One automaton finds in one scan which patterns occur; only those are searched again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import re2

MEMORY = 64 * 2**20
"""For the automaton's states. It is emptied when full, never exceeded."""


@dataclass(frozen=True)
class Pattern:
    """One kind of finding, and the score of a genuine one by itself."""

    name: str
    pattern: str
    strength: float
    genuine: Callable[[str], bool] | None = None
    """Check of group 1, or of the whole match: arithmetic and words that a pattern cannot express."""


class Finder:
    """Searches a text for patterns."""

    def __init__(self, kinds: Iterable[Pattern]) -> None:
        self._kinds = tuple(kinds)
        options = re2.Options()
        options.max_mem = MEMORY
        self._set = re2.Set.SearchSet(options)
        for kind in self._kinds:
            self._set.Add(kind.pattern)
        self._set.Compile()
        self._single = tuple(re2.compile(kind.pattern, options) for kind in self._kinds)

    def find(self, text: bytes) -> list[Pattern]:
        """Return the patterns of which the text has at least one genuine finding, in their declared order."""
        return [self._kinds[index] for index in sorted(self._set.Match(text) or ()) if self._genuine(index, text)]

    def _genuine(self, index: int, text: bytes) -> bool:
        genuine = self._kinds[index].genuine
        if genuine is None:
            return True
        pattern = self._single[index]
        group = 1 if pattern.groups else 0
        return any(genuine(match[group].decode("utf-8", "replace")) for match in pattern.finditer(text))


def combine(strengths: Iterable[float]) -> float:
    """Return the combined score of findings: 1 - Π(1 - s). One certain finding gives 1, two halves give 0.75."""
    doubt = 1.0
    for strength in strengths:
        doubt *= 1.0 - strength
    return 1.0 - doubt


def any_of(*patterns: str) -> str:
    """Return the pattern that matches any of them."""
    return f"(?:{'|'.join(patterns)})"
