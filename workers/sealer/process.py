"""Sealer process: `python -m workers.sealer`. Closes records into signed audit blocks, and anchors them.

Only this process has the sealer's key and role: no writer of records can sign blocks. It sees only their hashes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import httpx
import structlog

from capsules.digest import Digest
from capsules.errors import SomaError
from somagent.anchors.anchor import Anchor, FileAnchor, WebAnchor
from somagent.db.database import open_database
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.identity.keys import KeyRing
from somagent.settings import Settings
from somagent.stop_signals import exit_when_refused, run_until_stop_signal
from somagent.telemetry import configure_logging

BLOCK_LEAVES = 50_000
"""Most records in one block. With so many, signing takes about a second and an inclusion proof has 16 digests."""
MAX_WAIT = 5.0

log = structlog.get_logger(__name__)


class Sealer:
    """Closes every tenant's records into blocks and brings each anchor up to date."""

    def __init__(self, blocks: BlockWriter, keyring: KeyRing, anchors: Sequence[Anchor]) -> None:
        self._blocks = blocks
        self._keyring = keyring
        self._anchors = anchors

    async def sweep(self) -> int:
        """Close all waiting records; return the number of new blocks. Raises Unavailable."""
        made = 0
        for tenant in await self._blocks.waiting():
            while block := await self._blocks.close_block(tenant, self._sign, most=BLOCK_LEAVES):
                made += 1
                log.debug("sealer.block_closed", tenant=tenant, height=block.height, first=block.first, last=block.last)
        return made

    async def anchor(self) -> None:
        """Write the newest blocks to every anchor. One that fails is logged and does not delay the others."""
        heads = await self._blocks.heights()
        for anchor in self._anchors:
            try:
                for tenant, height in heads.items():
                    known = await anchor.height(tenant)
                    if known < height:
                        await anchor.keep(await self._blocks.blocks_after(tenant, known))
            except SomaError as error:
                log.warning("sealer.not_anchored", anchor=anchor.name, code=error.code, problem=error.message)

    def _sign(self, digest: Digest) -> tuple[str, str]:
        signed = self._keyring.sign("sealer", digest.encode("ascii"))
        return signed.key_id, signed.value


@contextlib.asynccontextmanager
async def sealer(settings: Settings) -> AsyncIterator[Sealer]:
    """Open the sealer with its own key and role. Raises KeyMissing when this machine has no sealer's key."""
    keyring = KeyRing.load(settings.sealer_keys_dir)
    keyring.signer("sealer")
    async with open_database(settings.database("sealer"), connections=2) as db, httpx.AsyncClient() as client:
        anchors: list[Anchor] = [FileAnchor(settings.anchors)]
        if settings.anchor_url:
            anchors.append(WebAnchor(settings.anchor_url, client))
        yield Sealer(BlockWriter(db.pool), keyring, anchors)


async def work(settings: Settings) -> None:
    """Close records at every interval until cancelled. It waits for a database that is down."""
    every, wait = settings.seal_every_seconds, settings.seal_every_seconds
    async with sealer(settings) as found:
        stale = True
        while True:
            try:
                if await found.sweep() or stale:
                    await found.anchor()
                    stale = False
                wait = every
            except SomaError as error:
                wait, stale = min(wait * 2, MAX_WAIT), True
                log.warning("sealer.interrupted", code=error.code, problem=error.message, again_in_seconds=wait)
            await asyncio.sleep(wait)


def main() -> None:
    settings = Settings()
    configure_logging(settings)
    with exit_when_refused("sealer"):
        asyncio.run(run_until_stop_signal(work(settings)))
