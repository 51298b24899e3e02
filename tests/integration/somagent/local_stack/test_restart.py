"""A part that is killed comes back, healthy and with its data."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio as redis
from chaos import kill, wait_until_ready
from servers import running, settings_in, temporary_home
from temporalio.client import Client

from somagent.local_stack.errors import PartFailed
from somagent.local_stack.part import Part
from somagent.local_stack.supervisor import Supervisor
from somagent.settings import Settings


@pytest.fixture(scope="module")
def own_settings() -> AsyncIterator[Settings]:
    with temporary_home() as home:
        yield settings_in(home)


@pytest.fixture(scope="module")
async def stack(own_settings: Settings) -> AsyncIterator[Supervisor]:
    async with running(own_settings, "postgres", "valkey", "temporal") as supervisor:
        yield supervisor


async def kill_and_await_return(supervisor: Supervisor, name: str) -> None:
    before = supervisor.runners[name].state.process.pid
    await wait_until_ready(supervisor, name, kill(supervisor, name), seconds=45)
    assert supervisor.runners[name].state.process.pid != before


async def test_postgres_comes_back_with_what_was_committed(stack: Supervisor, own_settings: Settings):
    url = own_settings.database("owner").replace("postgresql+asyncpg://", "postgresql://", 1)
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    await kill_and_await_return(stack, "postgres")

    again = await asyncpg.connect(url)
    assert await again.fetchval("SELECT answer FROM kept") == 42
    await again.close()
    connection.terminate()


async def test_temporal_comes_back_with_its_workflows(stack: Supervisor, own_settings: Settings):
    client = await Client.connect(own_settings.temporal_target())
    started = await client.start_workflow("Nobody", id="kept", task_queue="nobody")

    await kill_and_await_return(stack, "temporal")

    again = await Client.connect(own_settings.temporal_target())
    assert (await again.get_workflow_handle("kept").describe()).run_id == started.first_execution_run_id


async def test_valkey_comes_back_empty(stack: Supervisor, own_settings: Settings):
    async with redis.from_url(own_settings.redis_target()) as client:
        await client.set("lost", "1")

    await kill_and_await_return(stack, "valkey")

    async with redis.from_url(own_settings.redis_target()) as client:
        assert await client.get("lost") is None


async def test_a_part_killed_again_and_again_still_comes_back(stack: Supervisor):
    for _ in range(3):
        await kill_and_await_return(stack, "valkey")


async def test_postgres_starts_though_its_lock_file_names_another_program(stack: Supervisor, own_settings: Settings):
    lock = own_settings.home / "data" / "postgres" / "postmaster.pid"
    await stack.runners["postgres"].stop()
    lock.write_text(f"{psutil.Process().pid}\n{lock.parent}\n")

    await stack.runners["postgres"].start()

    assert int(lock.read_text().splitlines()[0]) == stack.runners["postgres"].state.process.pid


async def test_a_part_that_will_not_start_stops_the_others_and_says_why(tmp_path: Path):
    running_part = Part(name="fine", command=("sleep", "60"), env={"PATH": "/usr/bin:/bin"})
    failing = Part(
        name="broken",
        command=("sh", "-c", "echo the disk is on fire >&2; exit 3"),
        env={"PATH": "/usr/bin:/bin"},
        depends_on=("fine",),
        once=True,
    )
    supervisor = Supervisor((running_part, failing), home=tmp_path)
    with pytest.raises(PartFailed, match=r"broken ended with exit code 3(.|\n)*the disk is on fire"):
        await supervisor.start()
    assert {state.name: state.phase for state in supervisor.states} == {"fine": "stopped", "broken": "failed"}
    assert not psutil.pid_exists(supervisor.states[0].process.pid)


async def test_a_part_that_ignores_the_signal_to_stop_is_killed_with_what_it_started(tmp_path: Path):
    deaf = Part(
        name="deaf",
        command=("sh", "-c", "trap '' TERM; sleep 61 & echo $! >child; wait; sleep 62"),
        env={"PATH": "/usr/bin:/bin"},
        stop_seconds=0.5,
    )
    async with Supervisor((deaf,), home=tmp_path) as supervisor:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        pids = [supervisor.states[0].process.pid, int((tmp_path / "child").read_text())]
        assert all(psutil.pid_exists(pid) for pid in pids)
    await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], 5)
    left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []
