"""The projection of runs and their closing, as the workflows need it: an implementation of `capsules.runs.run.Runs`."""

import json
from dataclasses import dataclass

from pydantic_core import to_json

from capsules.budgets.account import Account
from capsules.digest import digest
from capsules.runs.run import Closed, CloseRun, RunUpdate
from somagent.db.database import Store
from somagent.db.errors import translated
from somagent.db.gate.ledger import canonical_parts


@dataclass(frozen=True)
class PostgresRuns:
    store: Store

    async def record(self, update: RunUpdate) -> None:
        """Follow the workflow's state; a run that has ended stays as it is."""
        async with self.store.transaction(update.tenant) as tx:
            await tx.runs.record(update)

    async def close(self, closing: CloseRun) -> Closed:
        """End the run: account settled and returned to its parent, row, last receipt and event written. Idempotent.

        Raises NotFound for a run that neither the API nor the gate ever entered.
        """
        output = to_json(closing.output).decode()
        question = {
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
        async with translated(), self.store.pool.acquire() as connection:
            answer = await connection.fetchval("SELECT run_close($1, $2)", json.dumps(question), output)
        return Closed.model_validate_json(answer)

    async def account(self, run: str, tenant: str) -> Account:
        """Return the run's account. Raises NotFound before the run was admitted."""
        async with self.store.transaction(tenant) as tx:
            return await tx.accounts.get(f"run:{run}")
