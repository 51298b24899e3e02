"""A benchmark: its name, the parts of the stack that it needs, and a measurement that takes turns with its anchor."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from results import Result

from somagent.settings import Settings


@dataclass(frozen=True)
class Turns:
    """The time that a benchmark may measure, in seconds, and the report of its progress."""

    settings: Settings
    seconds: float
    tell: Callable[[float], None]
    """Takes the share that is done, 0 to 1."""

    def parts(self, number: int) -> "list[Turns]":
        """Return so many measurements of equal time, one after the other, that share the progress."""
        return [
            Turns(self.settings, self.seconds / number, lambda share, part=part: self.tell((part + share) / number))  # type: ignore[misc]
            for part in range(number)
        ]

    async def compare(
        self, *sides: Callable[[], Awaitable[Sequence[float]]], warm: bool = False, at_least: int = 3
    ) -> list[list[float]]:
        """Return the measurements of each side, which take turns. `warm`: one turn of each before is left out."""
        found: list[list[float]] = [[] for _ in sides]

        async def take(number: int) -> None:
            found[number] += await sides[number]()

        if warm:
            for side in sides:
                await side()
        await self.take(*(partial(take, number) for number in range(len(sides))), at_least=at_least)
        return found

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
    """A benchmark, declared by one file of this directory."""

    name: str
    needs: tuple[str, ...]
    """Parts of the local stack, started in a home of their own."""
    measure: Callable[[Turns], Awaitable[Sequence[Result]]]
    explained: dict[str, str]
    """What each of its results compares, by the result's name."""
