"""Parts that listen nowhere are seen by what they do: workers poll their queues, the relay holds a session."""

import os
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from servers import eventually
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from somagent.local_stack.errors import NotReady
from somagent.local_stack.health import answers_http, answers_ping, has_session, polls, serves_namespace
from somagent.local_stack.part import StartedProcess
from somagent.settings import Settings


@activity.defn
async def nothing() -> None: ...


def launched(*, ago: timedelta = timedelta()) -> StartedProcess:
    return StartedProcess(pid=os.getpid(), since=datetime.now(UTC) - ago)


async def test_a_worker_is_healthy_once_it_polls_each_queue(temporal_address: str):
    check = polls(temporal_address, "default", ("health-a", "health-b"))
    client = await Client.connect(temporal_address)
    process = launched()
    with pytest.raises(NotReady, match="no poll yet on queue health-a, health-b"):
        await check(process)
    async with Worker(client, task_queue="health-a", activities=[nothing]):
        await eventually(lambda: polls(temporal_address, "default", ("health-a",))(process))
        with pytest.raises(NotReady, match=r"no poll yet on queue health-b$"):
            await check(process)
        async with Worker(client, task_queue="health-b", activities=[nothing]):
            await eventually(lambda: check(process))


async def test_polls_of_an_earlier_process_do_not_make_a_worker_healthy(temporal_address: str):
    client = await Client.connect(temporal_address)
    async with Worker(client, task_queue="health-c", activities=[nothing]):
        await eventually(lambda: polls(temporal_address, "default", ("health-c",))(launched(ago=timedelta(minutes=1))))
    later = StartedProcess(pid=os.getpid(), since=datetime.now(UTC) + timedelta(seconds=1))
    another = StartedProcess(pid=1, since=datetime.now(UTC) - timedelta(minutes=1))
    for process in (later, another):
        with pytest.raises(NotReady, match="health-c"):
            await polls(temporal_address, "default", ("health-c",))(process)


async def test_the_relay_is_healthy_once_its_role_holds_a_session(postgres_settings: Settings):
    process = launched()
    with pytest.raises(NotReady, match="no session"):
        await has_session(postgres_settings, "relay")(process)
    url = postgres_settings.database("relay").replace("postgresql+asyncpg://", "postgresql://", 1)
    connection = await asyncpg.connect(url)
    await has_session(postgres_settings, "relay")(process)
    with pytest.raises(NotReady, match="no session"):
        await has_session(postgres_settings, "relay")(
            StartedProcess(pid=1, since=datetime.now(UTC) + timedelta(seconds=1))
        )
    await connection.close()


async def test_a_server_that_is_not_there_is_not_healthy_yet():
    for check in (
        answers_http("http://127.0.0.1:9/v1/health"),
        answers_ping("redis://127.0.0.1:9/0"),
        serves_namespace("127.0.0.1:9", "default"),
        polls("127.0.0.1:9", "default", ("any",)),
    ):
        with pytest.raises(NotReady):
            await check(launched())


async def test_a_namespace_that_temporal_does_not_know_is_not_healthy_yet(temporal_address: str):
    with pytest.raises(NotReady, match="'elsewhere'"):
        await serves_namespace(temporal_address, "elsewhere")(launched())
