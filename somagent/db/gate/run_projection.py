"""Run projection: follows the state of a workflow in the row of its run, and closes the run. Implements `Runs`."""

import json
from dataclasses import dataclass

from pydantic_core import to_json

from capsules.budgets.account import Account
from capsules.digest import digest
from capsules.runs.run import CloseRun, CloseRunResult, RunUpdate
from somagent.db.database import Database
from somagent.db.gate.ledger import canonical_parts


@dataclass(frozen=True)
class PostgresRuns:
    """The run projection of all tenants; each call is one transaction."""

    db: Database

    async def record(self, update: RunUpdate) -> None:
        """Write the state of a workflow. A run that has ended is not changed."""
        async with self.db.transaction(update.tenant) as tx:
            await tx.runs.record(update)

    async def close(self, closing: CloseRun) -> CloseRunResult:
        """End a run: settle its account, return the rest to the parent, write row, last receipt and event. Idempotent.

        Raises NotFound for a run that neither the API nor the gate has entered.
        """
        output = to_json(closing.output).decode()
        request = {
            **closing.model_dump(mode="json", exclude={"output"}),
            "parts": canonical_parts(
                {
                    "artifact": closing.artifact,
                    "output": digest(closing.output),
                    "reason": closing.reason,
                    "status": closing.status,
                }
            ),
        }
        return CloseRunResult.model_validate_json(
            await self.db.call("SELECT run_close($1, $2)", json.dumps(request), output)
        )

    async def account(self, run: str, tenant: str) -> Account:
        """Return the run's account. Raises NotFound before the run was admitted."""
        async with self.db.transaction(tenant) as tx:
            return await tx.accounts.get(f"run:{run}")
