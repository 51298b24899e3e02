"""Decisions of real runs, out of their receipts: each with the action, the facts and the verdict of then.

Many are streamed by a server-side cursor: a backtest reads more than should stand in memory.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.errors import NotFound
from capsules.proof import RecordedAction
from capsules.reviewing import RecordedDecision
from somagent.store.tables import receipts, runs

BATCH = 500
_BODY = receipts.c.body
_SELECTED = (receipts.c.run, receipts.c.seq, receipts.c.at, *(_BODY[name].label(name) for name in ("action", "facts")))


@dataclass(frozen=True)
class Recorded:
    connection: AsyncConnection

    async def batches(
        self, *, newest: int, since: datetime | None = None
    ) -> AsyncIterator[list[RecordedAction | None]]:
        """Yield every decision of the newest runs, newest run first; None for one that cannot be judged again."""
        chosen = select(runs.c.id, runs.c.created_at).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(newest)
        if since is not None:
            chosen = chosen.where(runs.c.created_at >= since)
        among = chosen.subquery()
        query = (
            select(*_SELECTED, *(_text("verdict", name).label(name) for name in ("decision", "constitution")))
            .join(among, among.c.id == receipts.c.run)
            .where(receipts.c.kind == "decision")
            .order_by(among.c.created_at.desc(), receipts.c.run, receipts.c.seq)
        )
        found = await self.connection.stream(query)
        async for rows in found.partitions(BATCH):
            yield [_action(row) for row in rows]

    async def decision(self, run: str, seq: int) -> RecordedDecision:
        """Return the decision of one receipt. Raises NotFound."""
        found = await self._first(_whole().where((receipts.c.run == run) & (receipts.c.seq == seq)))
        if found is None:
            raise NotFound(
                f"Receipt {seq} of run {run!r} is no decision, or an older one that does not say on what facts.",
                run=run,
                seq=seq,
            )
        return found

    async def asked(self, run: str, approval: str) -> RecordedDecision | None:
        """Return the newest decision of a run that asked for an approval, or that used it."""
        query = _whole().where((receipts.c.run == run) & (_BODY["approval"].as_string() == approval))
        return await self._first(query.order_by(receipts.c.seq.desc()))

    async def last(self, run: str) -> RecordedDecision | None:
        """Return the newest decision in a run."""
        return await self._first(_whole().where(receipts.c.run == run).order_by(receipts.c.seq.desc()))

    async def _first(self, query: Select[Any]) -> RecordedDecision | None:
        row = (await self.connection.execute(query.limit(1))).first()
        if row is None:
            return None
        try:
            return RecordedDecision.model_validate(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public name for it
        except ValidationError:
            return None


def _whole() -> Select[Any]:
    return select(*_SELECTED, _BODY["verdict"].label("verdict")).where(receipts.c.kind == "decision")


def _text(*path: str) -> ColumnElement[str]:
    text: ColumnElement[str] = _BODY[path].as_string()
    return text


def _action(row: Row[Any]) -> RecordedAction | None:
    try:
        return RecordedAction.model_validate(dict(row._mapping))  # noqa: SLF001 - as above
    except ValidationError:
        return None
