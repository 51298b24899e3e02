"""Deletes content that was kept long enough, tenant by tenant, every hour."""

import asyncio

import structlog

from capsules.retention import Due
from somagent.db.database import Store
from somagent.db.repositories.retention import prune

BATCH = 200
"""Of each, in one transaction: holds that are being placed wait for it."""

log = structlog.get_logger(__name__)


async def sweep(relay: Store) -> Due:
    """Delete everything that is due now, of every tenant. Raises Unavailable when PostgreSQL goes."""
    total = Due(runs=0, blobs=0, memories=0)
    for tenant in await relay.tenants.list():
        while not (gone := await prune(relay.engine, tenant, BATCH)).nothing:
            log.info("retention.pruned", tenant=tenant, **gone.model_dump())
            total = Due(
                runs=total.runs + gone.runs,
                blobs=total.blobs + gone.blobs,
                memories=total.memories + gone.memories,
            )
    return total


async def prune_hourly(relay: Store, seconds: int) -> None:
    """Sweep for ever, with that long between."""
    while True:
        await sweep(relay)
        await asyncio.sleep(seconds)
