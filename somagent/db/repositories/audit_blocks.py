"""Audit blocks, written under the sealer's role: one transaction numbers, hashes and signs waiting records."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from capsules.audit import merkle
from capsules.audit.audit_blocks import Block, Leaf, header_digest
from capsules.digest import GENESIS, Digest
from somagent.db.errors import translate_errors

BlockSigner = Callable[[Digest], tuple[str, str]]
"""Returns the id of the key and the Base64 signature over the digest's ASCII text."""

LOCK = 7_405_113_804  # any number that is ours


@dataclass(frozen=True)
class BlockWriter:
    """Closes records of all tenants into audit blocks. Its role can read the hashes of records only."""

    pool: "asyncpg.Pool"

    async def waiting(self) -> list[str]:
        """Return the tenants with records that wait for a block."""
        return [row[0] for row in await self._fetch("SELECT seal_waiting()")]

    async def close_block(self, tenant: str, sign: BlockSigner, *, most: int) -> Block | None:
        """Close up to `most` waiting records of a tenant into a block and return it; None when nothing waits.

        Two sealers cannot make the same block: one waits for the other, and a height is used once.
        """
        async with translate_errors(), self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", LOCK % 2**31, tenant)
            newest = await connection.fetchrow(
                "SELECT height, last, digest FROM seal_blocks WHERE tenant_id = $1 ORDER BY height DESC LIMIT 1", tenant
            )
            height, last, previous = (newest[0], newest[1], newest[2]) if newest else (0, 0, GENESIS)
            rows = await connection.fetch(
                "SELECT seq, kind, subject, number, hash FROM seal_take($1, $2, $3, $4)",
                *(tenant, height + 1, last + 1, most),
            )
            if not rows:
                return None
            block = _sign_block(tenant, height + 1, [Leaf(*row) for row in rows], Digest(previous), sign)
            await connection.execute(
                "INSERT INTO seal_blocks (tenant_id, height, first, last, root, previous, sealed_at, digest, key_id,"
                " signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                *(block.tenant, block.height, block.first, block.last, block.root, block.previous, block.sealed_at),
                *(block.digest, block.key_id, block.signature),
            )
        return block

    async def blocks_after(self, tenant: str, height: int) -> list[Block]:
        """Return a tenant's blocks above a height, in order, for an anchor that lacks them."""
        rows = await self._fetch(
            "SELECT tenant_id AS tenant, height, first, last, root, previous, sealed_at, digest, key_id, signature"
            " FROM seal_blocks WHERE tenant_id = $1 AND height > $2 ORDER BY height",
            *(tenant, height),
        )
        return [Block.model_validate(dict(row)) for row in rows]

    async def heights(self) -> dict[str, int]:
        """Return the height of every tenant's newest block."""
        rows = await self._fetch("SELECT tenant_id, max(height) FROM seal_blocks GROUP BY tenant_id")
        return {row[0]: row[1] for row in rows}

    async def _fetch(self, query: str, *arguments: str | int) -> "list[asyncpg.Record]":
        async with translate_errors(), self.pool.acquire() as connection:
            return list(await connection.fetch(query, *arguments))


def _sign_block(tenant: str, height: int, leaves: list[Leaf], previous: Digest, sign: BlockSigner) -> Block:
    header: dict[str, Any] = {
        "tenant": tenant,
        "height": height,
        "first": leaves[0].seq,
        "last": leaves[-1].seq,
        "root": merkle.root([leaf.leaf_hash() for leaf in leaves]).hex(),
        "previous": previous,
        "sealed_at": datetime.now(UTC),
    }
    digest = header_digest(header)
    key_id, signature = sign(digest)
    return Block(**header, digest=digest, key_id=key_id, signature=signature)
