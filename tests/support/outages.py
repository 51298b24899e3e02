"""Parts that come and go by a test's hand, while everybody else's stay.

No mocks: the engine is the machine's own behind a link that can be taken away; the model server is llama.cpp, started
where the stack expects it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from chaos import query_rows
from servers import running
from temporalio.client import Client
from temporalio.converter import ActivitySerializationContext

from somagent.settings import Settings

ENGINE = Path("/var/run/docker.sock")


def link_engine(settings: Settings) -> None:
    """Let the machine's engine answer at this stack's address."""
    _engine(settings).symlink_to(ENGINE)


@contextmanager
def without_engine(settings: Settings) -> Iterator[None]:
    """Nothing answers at the engine's address inside the block."""
    _engine(settings).unlink()
    try:
        yield
    finally:
        link_engine(settings)


@asynccontextmanager
async def with_model(settings: Settings) -> AsyncIterator[None]:
    """llama.cpp answers at the model server's address inside the block."""
    async with running(settings.model_copy(update={"slm_url": None}), "slm"):
        yield


async def waiting_for(client: Client, run: str) -> list[str]:
    """Return why the run's activities failed last, as Temporal has it and a person with the key reads it."""
    description = await client.get_workflow_handle(run).describe()
    reasons = []
    for pending in description.raw_description.pending_activities:
        if pending.HasField("last_failure"):
            context = ActivitySerializationContext(
                namespace=client.namespace,
                activity_id=pending.activity_id,
                activity_type=pending.activity_type.name,
                activity_task_queue=None,
                workflow_id=run,
                workflow_type=None,
                is_local=False,
            )
            failure = await client.data_converter.with_context(context).decode_failure(pending.last_failure)
            reasons.append(f"{pending.activity_type.name}: {failure}")
    return reasons


async def row_counts(settings: Settings) -> dict[str, int]:
    """Return how many rows each table of a tenant holds.

    Without the sealer's own: it moves what was recorded before from its queue into blocks, in its own time.
    """
    tables = await query_rows(
        settings,
        "SELECT DISTINCT table_name FROM information_schema.columns WHERE column_name = 'tenant_id' "
        "AND table_name NOT IN ('seal_pending', 'seal_leaves', 'seal_blocks')",
    )
    assert len(tables) > 8, tables
    counts = {}
    for table in sorted(row["table_name"] for row in tables):
        counts[table] = (await query_rows(settings, f'SELECT count(*) AS n FROM "{table}"'))[0]["n"]
    return counts


def _engine(settings: Settings) -> Path:
    return Path(settings.docker_host.removeprefix("unix://"))
