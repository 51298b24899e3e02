"""What a benchmark is: a name, the parts of the stack it needs, and a measurement that takes turns with its anchor."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from results import Result

from somagent.settings import Settings


@dataclass(frozen=True)
class Turns:
    """How long a benchmark may measure, and whom it tells how far it is."""

    settings: Settings
    seconds: float
    tell: Callable[[float], None]
    """Takes the share that is done, 0 to 1."""

    def halves(self) -> "tuple[Turns, Turns]":
        """Return two measurements of half the time each, that share the progress."""
        half = self.seconds / 2
        return (
            Turns(self.settings, half, lambda share: self.tell(share / 2)),
            Turns(self.settings, half, lambda share: self.tell(0.5 + share / 2)),
        )

    def parts(self, number: int) -> "list[Turns]":
        """Return so many measurements of equal time, one after the other, that share the progress."""
        return [
            Turns(self.settings, self.seconds / number, lambda share, part=part: self.tell((part + share) / number))  # type: ignore[misc]
            for part in range(number)
        ]

    async def take(self, *turns: Callable[[], Awaitable[None]], at_least: int = 3) -> None:
        """Call the turns in order and then in reverse, again and again, until the time is over.

        Reversing gives nobody the warm or the quiet half of every round.
        """
        began = time.perf_counter()
        done = 0
        while done < at_least or time.perf_counter() - began < self.seconds:
            for turn in turns if done % 2 == 0 else reversed(turns):
                await turn()
            done += 1
            self.tell(min(1.0, (time.perf_counter() - began) / self.seconds, done / at_least))


@dataclass(frozen=True)
class Bench:
    """One file of this directory."""

    name: str
    needs: tuple[str, ...]
    """Parts of the local stack, started in a home of their own."""
    measure: Callable[[Turns], Awaitable[Sequence[Result]]]
    explained: dict[str, str]
    """What each of its results compares, by the result's name."""


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
