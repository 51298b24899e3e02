"""Forecasts of runs: written when a run is admitted, compared with its account when the run has completed."""

from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from capsules.forecasts.forecast import Forecast, PastRun, Shape
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import budget_accounts, forecasts, runs

LEARNED_FROM = 600
"""Number of the tenant's last completed runs that a forecaster learns from."""


class Forecasts(Repository):
    """The forecasts of one tenant's runs."""

    async def keep(self, run: str, shape: Shape, forecast: Forecast) -> None:
        """Store the forecast of a run. The first one counts, so a retried admission changes nothing."""
        await self.connection.execute(
            insert(forecasts)
            .values(
                tenant_id=self.tenant,
                run=run,
                capsule=shape.capsule,
                model=shape.model,
                shape=shape.model_dump(mode="json"),
                forecast=forecast.model_dump(mode="json"),
            )
            .on_conflict_do_nothing()
        )

    async def past(self, capsule: str | None = None, limit: int = LEARNED_FROM) -> list[PastRun]:
        """Return the last completed runs with a forecast, oldest first. A failed run stopped early."""
        account = (budget_accounts.c.tenant_id == runs.c.tenant_id) & (budget_accounts.c.id == runs.c.account)
        query = (
            select(forecasts.c.run, forecasts.c.shape, forecasts.c.forecast, budget_accounts.c.spent_tokens)
            .join(runs, tuple_(runs.c.tenant_id, runs.c.id) == tuple_(forecasts.c.tenant_id, forecasts.c.run))
            .join(budget_accounts, account)
            .where((runs.c.status == "completed") & runs.c.closed_at.is_not(None))
            .order_by(runs.c.closed_at.desc(), runs.c.id.desc())
            .limit(limit)
        )
        if capsule:
            query = query.where(forecasts.c.capsule == capsule)
        return [_past(row) for row in reversed(await self._all(query))]


def _past(row: Row[Any]) -> PastRun:
    return PastRun(
        run=row.run,
        shape=Shape.model_validate(row.shape),
        forecast=Forecast.model_validate(row.forecast),
        tokens=row.spent_tokens,
    )
