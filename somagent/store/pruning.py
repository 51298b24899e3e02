"""Deleting what was kept long enough: one call of one database function, which only the relay's role may make."""

from sqlalchemy import text

from capsules.retention import Due
from somagent.store.database import Store
from somagent.store.faults import translated


async def prune(relay: Store, tenant: str, most: int) -> Due:
    """Delete what is due of a tenant, at most so much of each. Needs the relay's connection."""
    async with translated(), relay.engine.begin() as connection:
        told = await connection.scalar(text("SELECT retention_prune(:tenant, :most)"), {"tenant": tenant, "most": most})
    return Due.model_validate(told)
