"""An altered or unsigned constitution lets nothing through: running runs stop, and workers do not start again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chaos import kill, query_rows, wait_until_ready
from constitution_changes import NAP
from platforms import Platform
from servers import eventually

# As somebody with the database in hand could, who is stopped neither by grants nor by triggers.
ALTERED = "UPDATE constitutions SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)"
UNSIGNED = "UPDATE constitution_signatures SET signature = ''"


@asynccontextmanager
async def tampered(stack: Platform, change: str) -> AsyncIterator[None]:
    """Change the only constitution behind everybody's back."""
    (was,) = await query_rows(
        stack.settings,
        "SELECT digest, encode(sealed, 'hex') AS sealed, signature "
        "FROM constitutions JOIN constitution_signatures USING (digest)",
    )
    await query_rows(stack.settings, _past_triggers(change))
    try:
        yield
    finally:
        await query_rows(stack.settings, f"UPDATE constitutions SET sealed = decode('{was['sealed']}', 'hex')")
        signature = f"UPDATE constitution_signatures SET signature = '{was['signature']}'"
        await query_rows(stack.settings, _past_triggers(signature))


def _past_triggers(statement: str) -> str:
    return f"DO $$ BEGIN PERFORM set_config('session_replication_role', 'replica', true); {statement}; END $$"


@pytest.mark.parametrize(("change", "why"), [(ALTERED, "was altered"), (UNSIGNED, "does not hold")])
async def test_a_run_stops_when_its_constitution_is_tampered_with(stack: Platform, change: str, why: str) -> None:
    run = await stack.start(await stack.publish(NAP), {})

    async def at_work() -> None:
        assert (
            await query_rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run)
        ) != []

    await eventually(at_work, seconds=30)
    async with tampered(stack, change):
        ended = await stack.until(run, seconds=30)
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("ConstitutionRefused: ")
    assert why in ended["reason"]
    begun = await query_rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run)
    assert len(begun) == 1, "the second step began under a constitution that nobody signed"


async def test_no_worker_starts_under_an_altered_constitution(stack: Platform) -> None:
    supervisor = stack.supervisor
    async with tampered(stack, ALTERED):
        restarts = {part: kill(supervisor, part) for part in ("worker", "tools")}
        await asyncio.gather(*(_refuses_to_start(stack, part, restarts[part]) for part in restarts))
    await asyncio.gather(*(wait_until_ready(supervisor, part, restarts[part]) for part in restarts))


async def _refuses_to_start(stack: Platform, part: str, restarts: int) -> None:
    """See it end by itself after it was killed, and say why."""
    runner = stack.supervisor.runners[part]

    async def ended_again() -> None:
        assert runner.state.restarts >= restarts + 2, f"{part} is {runner.state.phase}: {runner.state.message}"

    await eventually(ended_again, seconds=40)
    assert runner.state.phase != "ready"
    log = runner.state.log.read_text()
    assert "worker.refused_to_start" in log
    assert "ConstitutionRefused" in log
    assert "was altered" in log
