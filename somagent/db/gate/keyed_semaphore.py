"""Taking turns: calls about one thing that would wait for each other in the database wait here instead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary


class KeyedSemaphore:
    """Lets so many callers of this process at once do something about one thing; any number about different ones."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def about(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn; the first to ask is the first to have it."""
        turn = self._taken.get(key)
        if turn is None:
            turn = self._taken[key] = asyncio.Semaphore(self._at_once)
        async with turn:
            yield
