"""Effects that began and of which nothing was heard: what is held for them is neither spent nor free."""

from sqlalchemy import select

from capsules.gate import AttemptKey
from somagent.store.database import Store
from somagent.store.tables import effects


async def unsettled(store: Store, tenant: str, run: str) -> list[AttemptKey]:
    """Return the last attempt at each effect of a run that is under way, as far as the ledger knows."""
    query = select(effects.c.key, effects.c.attempt).where((effects.c.run == run) & (effects.c.state == "started"))
    async with store.transaction(tenant) as tx:
        rows = (await tx.connection.execute(query.order_by(effects.c.key))).all()
    found = []
    for row in rows:
        execution, _, activity = row.key.removeprefix(f"{run}/").partition("/")
        found.append(AttemptKey(tenant=tenant, run=run, execution=execution, activity=activity, attempt=row.attempt))
    return found
