"""Declaration of a benchmark, and the rounds in which it measures ours and its anchor by turns."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from results import Result

from somagent.settings import Settings


@dataclass(frozen=True)
class Turns:
    """The time in seconds that a benchmark may measure, and the report of its progress."""

    settings: Settings
    seconds: float
    report: Callable[[float], None]
    """Called with the share that is done, from 0 to 1."""

    def parts(self, number: int) -> "list[Turns]":
        """Return `number` measurements of equal time, in sequence, that share the progress."""
        return [
            Turns(self.settings, self.seconds / number, lambda share, part=part: self.report((part + share) / number))  # type: ignore[misc]
            for part in range(number)
        ]

    async def compare(
        self, *sides: Callable[[], Awaitable[Sequence[float]]], warm: bool = False, at_least: int = 3
    ) -> list[list[float]]:
        """Return the measurements of each side; the sides take turns. `warm`: make one turn of each before."""
        found: list[list[float]] = [[] for _ in sides]

        async def take(number: int) -> None:
            found[number] += await sides[number]()

        if warm:
            for side in sides:
                await side()
        await self.take(*(partial(take, number) for number in range(len(sides))), at_least=at_least)
        return found

    async def take(self, *turns: Callable[[], Awaitable[None]], at_least: int = 3) -> None:
        """Call the turns in order, then in reverse, and so on until the time is over: no side is always the first."""
        began = time.perf_counter()
        done = 0
        while done < at_least or time.perf_counter() - began < self.seconds:
            for turn in turns if done % 2 == 0 else reversed(turns):
                await turn()
            done += 1
            self.report(min(1.0, (time.perf_counter() - began) / self.seconds, done / at_least))


@dataclass(frozen=True)
class Bench:
    """A benchmark. Each is declared in a file of this directory."""

    name: str
    needs: tuple[str, ...]
    """Parts of the local stack, which are started in a temporary home."""
    measure: Callable[[Turns], Awaitable[Sequence[Result]]]
    explained: dict[str, str]
    """What each result compares, by the result's name."""


async def timed[T](work: Awaitable[T]) -> tuple[float, T]:
    """Return the seconds that the work takes, and its result."""
    began = time.perf_counter()
    value = await work
    return time.perf_counter() - began, value
