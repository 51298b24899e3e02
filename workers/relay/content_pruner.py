"""Content pruner: deletes content at the end of its retention, tenant by tenant, every hour."""

import asyncio

import structlog

from capsules.retention import DueContent
from somagent.db.database import Database
from somagent.db.repositories.retention import prune

BATCH = 200
"""Rows of each kind in one transaction: a legal hold that is being placed waits for it."""

log = structlog.get_logger(__name__)


async def sweep(relay: Database) -> DueContent:
    """Delete what is due now, for every tenant, and return the counts. Raises Unavailable when PostgreSQL stops."""
    total = DueContent(runs=0, blobs=0, memories=0)
    for tenant in await relay.tenants.list():
        while not (gone := await prune(relay.engine, tenant, BATCH)).nothing:
            log.info("retention.pruned", tenant=tenant, **gone.model_dump())
            total = DueContent(
                runs=total.runs + gone.runs,
                blobs=total.blobs + gone.blobs,
                memories=total.memories + gone.memories,
            )
    return total


async def prune_hourly(relay: Database, seconds: int) -> None:
    """Sweep for ever, with `seconds` between."""
    while True:
        await sweep(relay)
        await asyncio.sleep(seconds)
