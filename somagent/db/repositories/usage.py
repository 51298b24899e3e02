"""Usage report: what a tenant's runs spent, by group.

The account of a parent run includes what its child runs spent; the report subtracts that, so nothing counts twice.
"""

import datetime as dt
from collections.abc import Collection

from sqlalchemy import text

from capsules.budgets.amounts import Amounts
from capsules.budgets.usage_report import USAGE_GROUPS, Usage, UsageGroup
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import from_row

# The SQL expression of each dimension. Constants only, never a caller's text.
GROUPS: dict[UsageGroup, str] = {
    "project": "coalesce(run.project, '')",
    "capsule": "split_part(run.capsule, '@', 1)",
    "persona": "coalesce(run.lock->'persona'->'metadata'->>'name', '')",
    "model": "coalesce(run.lock->>'model', '')",
    "day": "(run.created_at AT TIME ZONE 'UTC')::date",
}
QUERY = """
WITH own AS (
    SELECT run.*, account.project, account.spent_tokens - coalesce(sum(part.spent_tokens), 0) AS tokens,
           account.spent_micro_usd - coalesce(sum(part.spent_micro_usd), 0) AS micro_usd,
           account.spent_tool_calls - coalesce(sum(part.spent_tool_calls), 0) AS tool_calls,
           CASE WHEN run.parent IS NULL THEN account.spent_seconds ELSE 0 END AS seconds
    FROM runs AS run
    JOIN budget_accounts AS account ON account.tenant_id = run.tenant_id AND account.id = run.account
    LEFT JOIN budget_accounts AS part
        ON part.tenant_id = run.tenant_id AND part.parent = account.id AND part.closed_at IS NOT NULL
    WHERE run.created_at >= :since AND run.created_at < :until
    GROUP BY run.tenant_id, run.id, account.tenant_id, account.id
)
SELECT {columns} count(*) AS runs, count(*) FILTER (WHERE run.status IN ('failed', 'cancelled')) AS failed,
       sum(run.tokens)::bigint AS tokens, sum(run.micro_usd)::bigint AS micro_usd,
       sum(run.tool_calls)::bigint AS tool_calls, sum(run.seconds)::bigint AS seconds
FROM own AS run {grouping}
"""


class UsageRows(Repository):
    """The usage of one tenant's runs."""

    async def report(self, by: Collection[UsageGroup], *, since: dt.datetime, until: dt.datetime) -> tuple[Usage, ...]:
        """Return what runs that began in [since, until) spent, one row for each group."""
        chosen = [name for name in USAGE_GROUPS if name in by]
        columns = "".join(f'{GROUPS[name]} AS "{name}", ' for name in chosen)
        ordinals = ", ".join(str(number + 1) for number in range(len(chosen)))
        grouping = f"GROUP BY {ordinals} ORDER BY {ordinals}" if chosen else ""
        query = text(QUERY.format(columns=columns, grouping=grouping))
        rows = await self._all(query, {"since": since, "until": until})
        return tuple(from_row(Usage, row, tenant=self.tenant, spent=from_row(Amounts, row)) for row in rows if row.runs)
