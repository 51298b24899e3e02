"""Run projection: the rows of runs that lists and pages read. The workflow is the source of truth."""

import json
from typing import Any

from sqlalchemy import Row, Select, func, select, text

from capsules.base_model import Page
from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.digest import Digest
from capsules.errors import NotFound
from capsules.runs.run import NewRun, RunRecord, RunStatus, RunUpdate
from somagent.db.pages import read_page
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import budget_accounts, from_row, runs

_SPENT = {dimension: budget_accounts.c[f"spent_{dimension}"] for dimension in DIMENSIONS}


class RunRows(Publisher):
    """The run projection of one tenant."""

    async def accept(self, run: NewRun) -> tuple[RunRecord, bool]:
        """Enter a run and tell whether it is new. The same request returns it; another one raises Conflict."""
        accept = text("SELECT run_accept(CAST(:entry AS jsonb), CAST(:inputs AS json))")
        values = {"entry": run.model_dump_json(exclude={"inputs"}), "inputs": json.dumps(run.inputs)}
        created = bool(await self.connection.scalar(accept, values))
        return await self.get(run.id), created

    async def get(self, run: str) -> RunRecord:
        """Return a run. Raises NotFound."""
        row = await self._first(_query().where(runs.c.id == run))
        if row is None:
            raise NotFound(f"There is no run {run!r}.", run=run)
        return _record(row)

    async def list(
        self,
        cursor: str | None = None,
        limit: int = 50,
        status: RunStatus | None = None,
        capsule: str | None = None,
    ) -> Page[RunRecord]:
        """Return a page, newest first. `capsule` is a name, with or without a version."""
        query = _query()
        if status:
            query = query.where(runs.c.status == status)
        if capsule:
            named = runs.c.capsule if "@" in capsule else func.split_part(runs.c.capsule, "@", 1)
            query = query.where(named == capsule)
        keys = (runs.c.created_at, runs.c.id)
        return await read_page(self.connection, query, keys, _record, cursor=cursor, limit=limit)

    async def children(self, run: str) -> tuple[str, ...]:
        """Return the ids of the runs that a run started, oldest first."""
        query = select(runs.c.id).where(runs.c.parent == run).order_by(runs.c.created_at, runs.c.id)
        return tuple((await self.connection.execute(query)).scalars())

    async def lock(self, run: str) -> dict[str, Any]:
        """Return the lock of a run; empty for a run that was not admitted as a capsule."""
        found = (await self.connection.execute(select(runs.c.lock).where(runs.c.id == run))).scalar_one_or_none()
        return found or {}

    async def admit(self, run: str, *, digest: Digest, parent: str | None, account: str, lock: dict[str, Any]) -> None:
        """Write the lock and the account of a run; the first ones stay. Raises NotFound for a run never entered."""
        admit = text("SELECT run_admit(:run, :digest, :parent, :account, CAST(:lock AS json))")
        values = {"digest": digest, "parent": parent, "account": account, "lock": json.dumps(lock)}
        await self.connection.execute(admit, {"run": run, **values})

    async def record(self, change: RunUpdate) -> None:
        """Write the state of a workflow. A run that has ended is not changed."""
        record = text("SELECT run_record(:run, :status, :reason, :step)")
        if await self.connection.scalar(record, change.model_dump(include={"run", "status", "reason", "step"})):
            data = change.model_dump(exclude={"run", "tenant"})
            await self._publish("agent.events", "run.changed", change.run, data)
            if change.status == "awaiting_budget":
                await self._publish("budget.events", "budget.requested", change.run, {"reason": change.reason})


def _query() -> Select[Any]:
    account = (budget_accounts.c.tenant_id == runs.c.tenant_id) & (budget_accounts.c.id == runs.c.account)
    return select(runs, *_SPENT.values()).select_from(runs.outerjoin(budget_accounts, account))


def _record(row: Row[Any]) -> RunRecord:
    spent = Amounts(**{d: getattr(row, f"spent_{d}") or 0 for d in DIMENSIONS})
    return from_row(RunRecord, row, tenant=row.tenant_id, spent=spent)
