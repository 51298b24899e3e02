"""What shadow constitutions would have decided, counted from the receipts that say it."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.constituting import ShadowCount, ShadowReport
from capsules.digest import Digest

# The constitution's own decision is compared, not the gate's: a replay or an empty account is no difference.
COUNTS = text("""
    WITH judged AS (
        SELECT run, seq, at, body->'action' AS action,
               body->'verdict'->>'decision' AS before, body->'shadow'->>'decision' AS after
        FROM receipts
        WHERE (body -> 'shadow') IS NOT NULL AND kind = 'decision' AND body->'shadow'->>'constitution' = :shadow
    ), counted AS (
        SELECT judged.*, count(*) OVER kind AS count, row_number() OVER (kind ORDER BY at, run, seq) AS place
        FROM judged WINDOW kind AS (PARTITION BY before, after)
    )
    SELECT before, after, count, run, seq, at, action FROM counted WHERE place = 1
    ORDER BY before = after, count DESC, before, after
""")


@dataclass(frozen=True)
class Shadows:
    connection: AsyncConnection

    async def report(self, shadow: Digest, *, scope: str) -> ShadowReport:
        """Return how often a shadow agreed and differed in this tenant, each kind with its first example."""
        rows = (await self.connection.execute(COUNTS, {"shadow": shadow})).all()
        counts = tuple(ShadowCount.model_validate(dict(row._mapping)) for row in rows)  # noqa: SLF001 - its public name
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
