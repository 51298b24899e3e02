"""Receipts, and the decision log: decisions of real runs with their action, facts and verdict, read from receipts.

`sql/receipts.sql` writes receipts; this side only reads. Decisions are streamed by a server-side cursor, because a
backtest reads more than fits in memory. `Shadows` counts what shadow constitutions would have decided.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row, Select, select, text

from capsules.audit.receipt import Receipt
from capsules.constitutions.proof import RecordedDecision
from capsules.constitutions.proposal import ShadowCount, ShadowReport
from capsules.digest import Digest
from capsules.errors import NotFound
from somagent.db.pages import check_limit
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import from_row, receipts, runs


class Receipts(Repository):
    """The receipts of one tenant's runs."""

    async def list(self, run: str, after: int = 0, limit: int = 500) -> tuple[Receipt, ...]:
        """Return a run's receipts that come after sequence number `after`, in order."""
        query = (
            select(receipts)
            .where((receipts.c.run == run) & (receipts.c.seq > after))
            .order_by(receipts.c.seq)
            .limit(check_limit(limit))
        )
        rows = await self._all(query)
        return tuple(from_row(Receipt, row) for row in rows)


BATCH = 500
_BODY = receipts.c.body

# Compares the verdicts of the constitutions. A decision of the gate for another reason (no budget) is no difference.
COUNTS = text("""
    WITH evaluated AS (
        SELECT run, seq, at, body->'action' AS action,
               body->'verdict'->>'decision' AS before, body->'shadow'->>'decision' AS after
        FROM receipts
        WHERE (body -> 'shadow') IS NOT NULL AND kind = 'decision' AND body->'shadow'->>'constitution' = :shadow
    ), counted AS (
        SELECT evaluated.*, count(*) OVER kind AS count, row_number() OVER (kind ORDER BY at, run, seq) AS place
        FROM evaluated WINDOW kind AS (PARTITION BY before, after)
    )
    SELECT before, after, count, run, seq, at, action FROM counted WHERE place = 1
    ORDER BY before = after, count DESC, before, after
""")


class DecisionLog(Repository):
    """The recorded decisions of one tenant."""

    async def batches(
        self, *, newest: int, since: datetime | None = None
    ) -> AsyncIterator[list[RecordedDecision | None]]:
        """Yield the decisions of the newest runs, newest run first; None for one that cannot be evaluated again."""
        chosen = select(runs.c.id, runs.c.created_at).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(newest)
        if since is not None:
            chosen = chosen.where(runs.c.created_at >= since)
        among = chosen.subquery()
        query = (
            _select_decisions()
            .join(among, among.c.id == receipts.c.run)
            .order_by(among.c.created_at.desc(), receipts.c.run, receipts.c.seq)
        )
        found = await self.connection.stream(query)
        async for rows in found.partitions(BATCH):
            yield [_parse(row) for row in rows]

    async def decision(self, run: str, seq: int) -> RecordedDecision:
        """Return the decision of one receipt. Raises NotFound."""
        found = await self._decision(_select_decisions().where((receipts.c.run == run) & (receipts.c.seq == seq)))
        if found is None:
            raise NotFound(
                f"Receipt {seq} of run {run!r} is no decision, or an older one that does not say on what facts.",
                run=run,
                seq=seq,
            )
        return found

    async def for_approval(self, run: str, approval: str) -> RecordedDecision | None:
        """Return the newest decision of a run that requested or used an approval."""
        query = _select_decisions().where((receipts.c.run == run) & (_BODY["approval"].as_string() == approval))
        return await self._decision(query.order_by(receipts.c.seq.desc()))

    async def newest(self, run: str) -> RecordedDecision | None:
        """Return the newest decision of a run."""
        return await self._decision(_select_decisions().where(receipts.c.run == run).order_by(receipts.c.seq.desc()))

    async def _decision(self, query: Select[Any]) -> RecordedDecision | None:
        row = await self._first(query.limit(1))
        return None if row is None else _parse(row)


class Shadows(Repository):
    """Counts of the verdicts of shadow constitutions in one tenant."""

    async def report(self, shadow: Digest, *, scope: str) -> ShadowReport:
        """Return how often each pair of verdicts (active, shadow) occurred, with the first example of each pair."""
        rows = await self.connection.execute(COUNTS, {"shadow": shadow})
        counts = tuple(from_row(ShadowCount, row) for row in rows)
        failed = sum(one.count for one in counts if one.after == "failed")
        same = sum(one.count for one in counts if one.before == one.after)
        judged = sum(one.count for one in counts)
        return ShadowReport(
            constitution=shadow,
            scope=scope,
            judged=judged,
            same=same,
            differing=judged - same - failed,
            failed=failed,
            counts=counts,
        )


def _select_decisions() -> Select[Any]:
    body = (_BODY[name].label(name) for name in ("action", "facts", "verdict"))
    return select(receipts.c.run, receipts.c.seq, receipts.c.at, *body).where(receipts.c.kind == "decision")


def _parse(row: Row[Any]) -> RecordedDecision | None:
    """Return the decision of a row; None for a receipt of an older form."""
    try:
        return from_row(RecordedDecision, row)
    except ValidationError:
        return None
