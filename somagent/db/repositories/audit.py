"""Audit of a tenant: audit entries, and audit blocks with leaves and inclusion proofs, as an auditor reads them."""

import json
from functools import partial
from typing import Any

from sqlalchemy import JSON, Row, select, text

from capsules.audit import merkle
from capsules.audit.audit_blocks import Block, Inclusion, Leaf
from capsules.audit.auditor import AuditEntry, Record
from capsules.audit.ledger_audit import ShownAccount
from capsules.audit.projections import ShownRun
from capsules.base_model import Page
from capsules.digest import Digest, canonical, digest
from somagent.db.pages import check_limit, read_page
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import audit_entries, from_row, seal_blocks, seal_leaves

# Each leaf with its record. The outer joins give NULL where a record is gone.
RECORDS = text("""
SELECT leaf.seq, leaf.kind, leaf.subject, leaf.number, leaf.hash, receipt.previous,
       CASE leaf.kind WHEN 'receipt' THEN receipt.body::text WHEN 'audit' THEN entry.body::text
                      WHEN 'run' THEN CASE WHEN admitted.id IS NOT NULL THEN run_body(admitted) END END AS body,
       CASE leaf.kind
           WHEN 'receipt' THEN json_build_object('activity', receipt.activity, 'at', canonical_time(receipt.at)::json,
                                                 'attempt', receipt.attempt, 'kind', receipt.kind)
           WHEN 'audit' THEN json_build_object('action', entry.action, 'actor', entry.actor,
                                               'at', canonical_time(entry.at)::json, 'subject', entry.subject)
           WHEN 'ledger' THEN CASE WHEN posted.id IS NOT NULL THEN ledger_columns(posted) END
       END AS columns
FROM seal_leaves AS leaf
LEFT JOIN receipts AS receipt
    ON leaf.kind = 'receipt' AND receipt.tenant_id = leaf.tenant_id AND receipt.run = leaf.subject
    AND receipt.seq = leaf.number
LEFT JOIN audit_entries AS entry
    ON leaf.kind = 'audit' AND entry.tenant_id = leaf.tenant_id AND entry.id = leaf.number
LEFT JOIN ledger_entries AS posted
    ON leaf.kind = 'ledger' AND posted.tenant_id = leaf.tenant_id AND posted.id = leaf.number
    AND posted.account = leaf.subject
LEFT JOIN runs AS admitted
    ON leaf.kind = 'run' AND admitted.tenant_id = leaf.tenant_id AND admitted.id = leaf.subject
WHERE leaf.seq > :after ORDER BY leaf.seq LIMIT :most
""").columns(columns=JSON())

# Rows with the records about them after the sealed part that an auditor has read: in later blocks, or waiting for one.
# One statement, so that a row and its records are of one moment.
ACCOUNTS = text("""
WITH later AS (
    SELECT number FROM seal_leaves WHERE seq > :sealed AND kind = 'ledger'
    UNION ALL SELECT number FROM seal_pending WHERE kind = 'ledger'
)
SELECT account.*, ARRAY(
    SELECT ledger_columns(entry) FROM later JOIN ledger_entries AS entry ON entry.id = later.number
    WHERE entry.account = account.id
       OR (entry.account = account.parent
           AND (entry.key = account.id OR (account.id LIKE 'project:%' AND starts_with(entry.key, account.id || ' '))))
    ORDER BY entry.id) AS later
FROM budget_accounts AS account WHERE account.id > :after ORDER BY account.id LIMIT :most
""")
RUNS = text("""
WITH later AS (
    SELECT subject, number FROM seal_leaves WHERE seq > :sealed AND kind = 'receipt'
    UNION ALL SELECT subject, number FROM seal_pending WHERE kind = 'receipt'
)
SELECT run.id, run.actor, run.capsule, run.status, run.reason, run.output::text, run.artifact,
       run.receipt_seq AS receipts, run.receipt_head AS head, run.decisions, run.denials,
       run.closed_at IS NOT NULL AS ended, run.pruned_at IS NOT NULL AS pruned, (
    SELECT receipt.body::text
    FROM later JOIN receipts AS receipt ON receipt.run = later.subject AND receipt.seq = later.number
    WHERE receipt.run = run.id AND receipt.activity = 'run.close') AS closing
FROM runs AS run WHERE run.id > :after AND (CAST(:only AS text) IS NULL OR run.id = :only) ORDER BY run.id LIMIT :most
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
                ORDER BY entry.id LIMIT 10)
       || ARRAY(SELECT 'ledger entry ' || entry.id FROM ledger_entries AS entry
                WHERE NOT EXISTS (SELECT FROM seal_leaves AS leaf WHERE leaf.kind = 'ledger'
                                  AND leaf.subject = entry.account AND leaf.number = entry.id)
                  AND NOT EXISTS (SELECT FROM seal_pending AS queued WHERE queued.kind = 'ledger'
                                  AND queued.subject = entry.account AND queued.number = entry.id)
                ORDER BY entry.id LIMIT 10)
       || ARRAY(SELECT 'admission of run ' || run.id FROM runs AS run
                WHERE run.lock IS NOT NULL
                  AND NOT EXISTS (SELECT FROM seal_leaves AS leaf WHERE leaf.kind = 'run' AND leaf.subject = run.id)
                  AND NOT EXISTS (SELECT FROM seal_pending AS queued
                                  WHERE queued.kind = 'run' AND queued.subject = run.id)
                ORDER BY run.id LIMIT 10) AS strays
""")


class Audit(Repository):
    """The audit entries and audit blocks of one tenant."""

    async def set_actor(self, actor: str) -> None:
        """Name who makes the changes of this transaction, for the entries that triggers of tables write."""
        await self.connection.execute(text("SELECT set_config('somagent.actor', :actor, true)"), {"actor": actor})

    async def add(self, actor: str, action: str, subject: str, details: dict[str, Any]) -> None:
        """Write an entry in the transaction of the change. details: names, numbers and digests, never a secret."""
        values = {"actor": actor, "action": action, "subject": subject, "details": canonical(details).decode()}
        await self.connection.execute(text("SELECT audit_add(:actor, :action, :subject, :details)"), values)

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
        return tuple(Record(Leaf(*row[:5]), row.body, row.previous, row.columns) for row in rows)

    async def accounts(self, after: str = "", *, sealed: int, limit: int = 500) -> tuple[ShownAccount, ...]:
        """Return accounts with ids above `after` as rows show them, each with the entries about it after `sealed`."""
        rows = await self.connection.execute(ACCOUNTS, {"after": after, "sealed": sealed, "most": check_limit(limit)})
        return tuple(_shown_account(row) for row in rows)

    async def runs(
        self, after: str = "", *, sealed: int, only: str | None = None, limit: int = 500
    ) -> tuple[ShownRun, ...]:
        """Return runs with ids above `after`, or `only` one. `sealed`: the last number that an auditor has read."""
        values = {"after": after, "sealed": sealed, "only": only, "most": check_limit(limit)}
        rows = await self.connection.execute(RUNS, values)
        return tuple(_shown_run(row) for row in rows)

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


def _shown_account(row: Row[Any]) -> ShownAccount:
    amounts = {
        name: [getattr(row, f"{name}_{dimension}") for dimension in ("micro_usd", "tokens", "tool_calls")]
        for name in ("limit", "spent", "reserved", "overrun")
    }
    return from_row(ShownAccount, row, closed=row.closed_at is not None, **amounts)


def _shown_run(row: Row[Any]) -> ShownRun:
    shown = None if row.pruned else digest(None if row.output is None else json.loads(row.output))
    return from_row(ShownRun, row, output=shown)
