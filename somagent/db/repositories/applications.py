"""Runs of governed applications: enrolled at their first action, with the terms that are pinned then.

The pinned terms are in the `lock` of the run, under `application`. A run of a capsule never has that key.
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, text

from capsules.digest import Digest
from capsules.errors import Conflict
from capsules.governance.application import Enrolment
from somagent.db.pages import check_limit
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import approvals, runs

PINNED = "application"
ENROL = text("SELECT run_enrol(CAST(:entry AS jsonb), CAST(:inputs AS json), CAST(:lock AS json))")


class Applications(Publisher):
    """The runs of governed applications of one tenant."""

    async def find(self, run: str) -> Enrolment | None:
        """Return the enrolment of a run; None for a run that is not enrolled, or is a capsule's."""
        lock = await self.connection.scalar(select(runs.c.lock).where(runs.c.id == run))
        return _enrolment(lock)

    async def enter(self, wanted: Enrolment) -> Enrolment:
        """Enrol a run once and return the enrolment that counts, the first. Raises Conflict for a capsule's run."""
        entry = {
            "id": wanted.run,
            "capsule": wanted.application,
            "actor": wanted.actor,
            "parent": wanted.root if wanted.root != wanted.run else None,
            "account": wanted.account,
        }
        inputs = {"workflow_id": wanted.workflow_id, "workflow_type": wanted.workflow_type}
        lock = {PINNED: wanted.model_dump(mode="json")}
        values = {"entry": json.dumps(entry), "inputs": json.dumps(inputs), "lock": json.dumps(lock)}
        if await self.connection.scalar(ENROL, values):
            return wanted
        known = await self.find(wanted.run)
        if known is None:
            raise Conflict(f"Run {wanted.run!r} is a capsule's; name the application otherwise.", run=wanted.run)
        return known

    async def list_open(self, application: str, after: str = "", limit: int = 100) -> tuple[Enrolment, ...]:
        """Return open runs of an application with ids above `after`, in the order of their ids."""
        query = (
            select(runs.c.lock)
            .where(runs.c.closed_at.is_(None) & is_application_run() & (runs.c.id > after))
            .where(func.split_part(runs.c.capsule, "@", 1) == application)
            .order_by(runs.c.id)
            .limit(check_limit(limit))
        )
        found = (_enrolment(row.lock) for row in await self.connection.execute(query))
        return tuple(each for each in found if each is not None)

    async def has_open_children(self, run: str) -> bool:
        """Return whether a child run of this run is open."""
        query = select(exists().where((runs.c.parent == run) & runs.c.closed_at.is_(None)))
        return bool(await self.connection.scalar(query))

    async def last_approval(self, run: str, action: Digest, since: datetime) -> str | None:
        """Return the id of the newest approval of an action that was requested since `since`."""
        query = (
            select(approvals.c.id)
            .where((approvals.c.run == run) & (approvals.c.action == action) & (approvals.c.requested_at >= since))
            .order_by(approvals.c.requested_at.desc())
            .limit(1)
        )
        found: str | None = await self.connection.scalar(query)
        return found


def is_application_run() -> ColumnElement[bool]:
    """Return the condition that a run belongs to a governed application."""
    pinned: ColumnElement[bool] = runs.c.lock[PINNED].as_string().is_not(None)
    return pinned


def _enrolment(lock: Any) -> Enrolment | None:  # noqa: ANN401 - a JSON column
    return Enrolment.model_validate(lock[PINNED]) if lock and PINNED in lock else None
