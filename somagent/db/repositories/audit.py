"""Audit of a tenant: audit entries, and audit blocks with leaves and inclusion proofs, as an auditor reads them."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import JSON, Row, Text, cast, insert, literal, select, text

from capsules.audit import merkle
from capsules.audit.audit_blocks import Block, Inclusion, Leaf
from capsules.audit.auditor import AuditEntry, Record, entry_digest
from capsules.base_model import Page
from capsules.digest import Digest, canonical
from somagent.db.pages import check_limit, read_page
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import audit_entries, from_row, seal_blocks, seal_leaves

# Each leaf with its record. The outer joins give NULL where a record is gone.
RECORDS = text("""
SELECT leaf.seq, leaf.kind, leaf.subject, leaf.number, leaf.hash,
       coalesce(receipt.body, entry.body)::text AS body, receipt.previous
FROM seal_leaves AS leaf
LEFT JOIN receipts AS receipt
    ON leaf.kind = 'receipt' AND receipt.tenant_id = leaf.tenant_id AND receipt.run = leaf.subject
    AND receipt.seq = leaf.number
LEFT JOIN audit_entries AS entry
    ON leaf.kind = 'audit' AND entry.tenant_id = leaf.tenant_id AND entry.id = leaf.number
WHERE leaf.seq > :after ORDER BY leaf.seq LIMIT :most
""")

# One statement, so that all numbers are of one moment. A stray is a record in no block that does not wait for one.
STATUS = text("""
SELECT (SELECT count(*) FROM seal_pending) AS waiting,
       (SELECT coalesce(max(height), 0) FROM seal_blocks) AS height,
       (SELECT coalesce(max(last), 0) FROM seal_blocks) AS leaves,
       ARRAY(SELECT receipt.run || ' ' || receipt.seq FROM receipts AS receipt
             WHERE NOT EXISTS (SELECT FROM seal_leaves AS leaf WHERE leaf.kind = 'receipt'
                               AND leaf.subject = receipt.run AND leaf.number = receipt.seq)
               AND NOT EXISTS (SELECT FROM seal_pending AS queued WHERE queued.kind = 'receipt'
                               AND queued.subject = receipt.run AND queued.number = receipt.seq)
             ORDER BY receipt.run, receipt.seq LIMIT 10)
       || ARRAY(SELECT 'audit entry ' || entry.id FROM audit_entries AS entry
                WHERE NOT EXISTS (SELECT FROM seal_leaves AS leaf WHERE leaf.kind = 'audit' AND leaf.number = entry.id)
                  AND NOT EXISTS (SELECT FROM seal_pending AS queued
                                  WHERE queued.kind = 'audit' AND queued.number = entry.id)
                ORDER BY entry.id LIMIT 10) AS strays
""")


class Audit(Repository):
    """The audit entries and audit blocks of one tenant."""

    async def set_actor(self, actor: str) -> None:
        """Name who makes the changes of this transaction, for the entries that triggers of tables write."""
        await self.connection.execute(text("SELECT set_config('somagent.actor', :actor, true)"), {"actor": actor})

    async def add(self, actor: str, action: str, subject: str, details: dict[str, Any]) -> None:
        """Write an entry in the transaction of the change. details: names, numbers and digests, never a secret."""
        now = datetime.now(UTC)
        body = canonical(
            {
                "actor": actor,
                "action": action,
                "subject": subject,
                "details": details,
                "at": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
            }
        ).decode()
        values = {"tenant_id": self.tenant, "at": now, "actor": actor, "action": action, "subject": subject}
        await self.connection.execute(
            # As text, byte for byte: the hash is over it.
            insert(audit_entries).values(**values, body=cast(literal(body, Text), JSON), hash=entry_digest(body))
        )

    async def list(
        self, action: str | None = None, subject: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[AuditEntry]:
        """Return a page of entries, newest first."""
        query = select(audit_entries)
        if action:
            query = query.where(audit_entries.c.action == action)
        if subject:
            query = query.where(audit_entries.c.subject == subject)
        keys = (audit_entries.c.id,)
        return await read_page(self.connection, query, keys, partial(from_row, AuditEntry), cursor=cursor, limit=limit)

    async def status(self) -> Row[Any]:
        """Return the columns of `STATUS`: `waiting`, `height`, `leaves` and `strays`."""
        return (await self.connection.execute(STATUS)).one()

    async def blocks(self, after: int = 0, limit: int = 500) -> tuple[Block, ...]:
        """Return blocks above a height, in order."""
        query = (
            select(seal_blocks)
            .where(seal_blocks.c.height > after)
            .order_by(seal_blocks.c.height)
            .limit(check_limit(limit))
        )
        return tuple(_block(row) for row in await self._all(query))

    async def records(self, after: int = 0, limit: int = 500) -> tuple[Record, ...]:
        """Return records in blocks after a sequence number, in order."""
        rows = await self.connection.execute(RECORDS, {"after": after, "most": limit})
        return tuple(Record(Leaf(*row[:5]), row.body, row.previous) for row in rows)

    async def inclusions(self, run: str) -> tuple[Inclusion, ...]:
        """Return an inclusion proof for each receipt of a run that is in a block, in order."""
        own = (seal_leaves.c.kind == "receipt") & (seal_leaves.c.subject == run)
        heights = await self.connection.scalars(select(seal_leaves.c.height).where(own).distinct())
        found: tuple[Inclusion, ...] = ()
        for height in sorted(heights):
            query = select(seal_leaves).where(seal_leaves.c.height == height).order_by(seal_leaves.c.seq)
            leaves = [_leaf(row) for row in await self._all(query)]
            found += tuple(_prove_receipts(leaves, height, run))
        return found

    async def blocks_at(self, heights: set[int]) -> tuple[Block, ...]:
        """Return the blocks of these heights, in order."""
        query = select(seal_blocks).where(seal_blocks.c.height.in_(heights)).order_by(seal_blocks.c.height)
        return tuple(_block(row) for row in await self._all(query))


def _prove_receipts(leaves: list[Leaf], height: int, run: str) -> list[Inclusion]:
    hashes = [leaf.leaf_hash() for leaf in leaves]
    return [
        Inclusion(
            leaf=leaf,
            height=height,
            index=index,
            size=len(leaves),
            proof=tuple(sibling.hex() for sibling in merkle.inclusion_proof(hashes, index)),
        )
        for index, leaf in enumerate(leaves)
        if leaf.kind == "receipt" and leaf.subject == run
    ]


def _leaf(row: Row[Any]) -> Leaf:
    return Leaf(row.seq, row.kind, row.subject, row.number, Digest(row.hash))


def _block(row: Row[Any]) -> Block:
    return from_row(Block, row, tenant=row.tenant_id)
