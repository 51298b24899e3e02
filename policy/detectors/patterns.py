"""Patterns that are matched in linear time: RE2 knows no backtracking, so no text can make it slow.

Patterns see UTF-8 bytes. One automaton says in one pass which kinds occur at all; only those are looked at again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import re2

MEMORY = 64 * 2**20
"""For the automaton's states. It is emptied when full, never exceeded."""


@dataclass(frozen=True)
class Kind:
    """One kind of finding, and how much a genuine one says by itself."""

    name: str
    pattern: str
    strength: float
    genuine: Callable[[str], bool] | None = None
    """Looks at group 1, or at the whole where there is none; arithmetic and words that a pattern cannot say."""


class Finder:
    """Finds kinds in a text."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = tuple(kinds)
        options = re2.Options()
        options.max_mem = MEMORY
        self._set = re2.Set.SearchSet(options)
        for kind in self._kinds:
            self._set.Add(kind.pattern)
        self._set.Compile()
        self._single = tuple(re2.compile(kind.pattern, options) for kind in self._kinds)

    def found(self, text: bytes) -> list[Kind]:
        """Return the kinds of which the text has at least one genuine finding, in their declared order."""
        return [self._kinds[index] for index in sorted(self._set.Match(text) or ()) if self._genuine(index, text)]

    def _genuine(self, index: int, text: bytes) -> bool:
        genuine = self._kinds[index].genuine
        if genuine is None:
            return True
        pattern = self._single[index]
        group = 1 if pattern.groups else 0
        return any(genuine(match[group].decode("utf-8", "replace")) for match in pattern.finditer(text))


def together(strengths: Iterable[float]) -> float:
    """Return what several findings say together: 1 - Π(1 - s). One certain finding gives 1, two halves give 0.75."""
    doubt = 1.0
    for strength in strengths:
        doubt *= 1.0 - strength
    return 1.0 - doubt


def either(*patterns: str) -> str:
    """Return the pattern that matches any of them."""
    return f"(?:{'|'.join(patterns)})"
