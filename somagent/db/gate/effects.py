"""Open effects and recent effects of the ledger. An open effect has begun, and its outcome is not recorded."""

from dataclasses import dataclass

from sqlalchemy import select, text

from capsules.actions.ledger_messages import AttemptKey
from capsules.budgets.account import CALLS
from somagent.db.database import Database
from somagent.db.schema.tables import effects

# An effect counts with what it used so far, and while it is open also with what is reserved for it.
QUERY = text("""
SELECT effect.key AS effect,
       effect.used_tokens + CASE effect.state WHEN 'started' THEN effect.reserved_tokens ELSE 0 END AS tokens,
       (extract(epoch FROM clock_timestamp() - effect.started_at) * 1000)::bigint AS age_ms
FROM effects AS effect
JOIN budget_accounts AS account ON account.tenant_id = effect.tenant_id AND account.id = effect.account
WHERE effect.started_at > clock_timestamp() - make_interval(secs => :seconds) AND effect.kind = ANY(:kinds)
  AND (CAST(:project AS text) IS NULL OR account.project = :project)
""")


@dataclass(frozen=True)
class RecentEffect:
    """An effect of the last seconds. age_ms: milliseconds since it began."""

    effect: str
    tokens: int
    age_ms: int


async def recent_effects(db: Database, tenant: str, account: str, *, seconds: float) -> list[RecentEffect]:
    """Return the model and tool calls under a tenant's or a project's account that began in the last seconds."""
    project = account.removeprefix("project:") if account.startswith("project:") else None
    values = {"seconds": seconds, "kinds": sorted(CALLS), "project": project}
    async with db.transaction(tenant) as tx:
        rows = (await tx.connection.execute(QUERY, values)).all()
    return [RecentEffect(row.effect, row.tokens, max(0, row.age_ms)) for row in rows]


async def open_effects(db: Database, tenant: str, run: str) -> list[AttemptKey]:
    """Return the last attempt at each open effect of a run."""
    query = select(effects.c.key, effects.c.attempt).where((effects.c.run == run) & (effects.c.state == "started"))
    async with db.transaction(tenant) as tx:
        rows = (await tx.connection.execute(query.order_by(effects.c.key))).all()
    found = []
    for row in rows:
        execution, _, activity = row.key.removeprefix(f"{run}/").partition("/")
        found.append(AttemptKey(tenant=tenant, run=run, execution=execution, activity=activity, attempt=row.attempt))
    return found
