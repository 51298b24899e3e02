"""Locks of admitted runs, read from the runs' rows and compared with their digests: implements `Locks`."""

from dataclasses import dataclass, field

from pydantic import ValidationError

from capsules.bounded_cache import BoundedCache
from capsules.digest import Digest
from capsules.errors import TamperedContent
from capsules.runs.lock import Lock
from somagent.db.database import Database

CACHE_SIZE = 1_000
"""Number of locks that a worker keeps in memory. The gate reads a lock for each action."""


@dataclass(frozen=True)
class PostgresLocks:
    """Reads each lock once. One whose digest is known never changes; the others are read again each time."""

    db: Database
    _cache: BoundedCache[tuple[str, str, Digest], Lock] = field(default_factory=lambda: BoundedCache(CACHE_SIZE))

    async def get(self, tenant: str, run: str, digest: Digest | None) -> Lock | None:
        """Return the lock of a run; None when it has none and none is expected.

        Raises TamperedContent when the stored lock has another digest, and Unavailable.
        """
        if digest is not None and (known := self._cache.get((tenant, run, digest))) is not None:
            return known
        lock = await self._read(tenant, run)
        if digest is None:
            return lock
        if lock is None or lock.digest() != digest:
            raise TamperedContent(
                f"The stored lock of run {run!r} is not the one that it was admitted with ({digest}). "
                "Somebody changed it; start the run again.",
                run=run,
            )
        self._cache[tenant, run, digest] = lock
        return lock

    async def _read(self, tenant: str, run: str) -> Lock | None:
        async with self.db.transaction(tenant) as tx:
            stored = await tx.runs.lock(run)
        if "capsule" not in stored:
            return None  # not admitted yet, or the run of a governed application
        try:
            return Lock.model_validate(stored)
        except ValidationError as error:
            raise TamperedContent(f"The stored lock of run {run!r} cannot be read: {error}", run=run) from error
