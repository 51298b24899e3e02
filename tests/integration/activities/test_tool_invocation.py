"""`tool.invoke` around an executor: which one, for how long, and what is kept of its answer.

In the SDK's activity environment: a heartbeat and the ways of being cancelled cannot be told apart from outside. The
executor asks the real ticket desk or starts real containers, the content store is PostgreSQL.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from capsule_texts import thinker
from executor_contract import new_key, until
from locks import lock_of
from sandboxes import running_containers
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment
from tickets import TOOL, Desk, TicketExecutor, ticket_desk

from activities.tools import ToolActivities, locked_call, tool_action
from capsules.actions.activity_context import ActivityContext, activity_context
from capsules.actions.verdict import Outcome
from capsules.errors import AuthorityRefused, EffectFailed, Invalid
from capsules.identity.authority import Authority
from capsules.names import parse_reference
from capsules.tools.tool import Tool, ToolRequest, ToolResult
from sandbox.container import DockerSandbox
from sandbox.executor import ContainerExecutor
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library, read_tool
from somagent.content.postgres import PostgresContent
from somagent.db.database import Database

TICKETS = read_tool(TOOL, filename="tickets.yaml", kinds={"tickets"})


@pytest.fixture(scope="module")
async def desk() -> AsyncIterator[Desk]:
    async with ticket_desk() as running:
        yield running


@pytest.fixture
async def tools(desk: Desk, db: Database, owner: Database) -> AsyncIterator[ToolActivities]:
    await owner.tenants.add("test")
    async with httpx.AsyncClient(base_url=desk.url) as http:
        yield ToolActivities({"tickets": TicketExecutor(http)}, PostgresContent(db))


def open_ticket(**arguments: object) -> ToolRequest:
    return ToolRequest(tool=TICKETS.ref, action="open", arguments=arguments)


PYTHON = Library.load().tool(parse_reference("python@1"))


def run_python(code: str) -> ToolRequest:
    return ToolRequest(tool=PYTHON.ref, action="run", arguments={"code": code})


def new_context(tool: Tool = TICKETS) -> ActivityContext:
    key = new_key()
    authority = Authority(
        kind="run", tenant="test", actor="ada", run=key.run, account=f"run:{key.run}", expires_at=2**40
    )
    return ActivityContext(authority, key, lock=lock_of(load(thinker("opens")), [tool]))


async def invoke(
    tools: ToolActivities,
    request: ToolRequest,
    granted: ActivityContext,
    environment: ActivityEnvironment | None = None,
) -> Outcome[ToolResult]:
    with activity_context(granted):
        return await (environment or ActivityEnvironment()).run(tools.invoke, request)


async def test_a_kind_without_an_executor_is_refused_with_the_known_ones(tools: ToolActivities) -> None:
    granted = new_context(TICKETS.model_copy(update={"kind": "http"}))
    with pytest.raises(Invalid, match=r"no executor for tools of kind 'http'\. Known: tickets\."):
        await invoke(tools, open_ticket(title="x"), granted)


async def test_an_unknown_action_is_refused_with_the_known_ones(tools: ToolActivities) -> None:
    request, granted = open_ticket(title="x").model_copy(update={"action": "burn"}), new_context()
    with pytest.raises(Invalid, match=r"has no action 'burn'\. It has: open\."):
        tool_action(locked_call(request, granted.lock))  # the gate asks first what it is
    with pytest.raises(Invalid, match="has no action 'burn'"):
        await invoke(tools, request, granted)


async def test_a_tool_that_the_lock_lacks_is_refused(tools: ToolActivities) -> None:
    request = open_ticket(title="x").model_copy(update={"tool": "tickets@2.0.0"})
    with pytest.raises(AuthorityRefused, match=r"no tool 'tickets@2\.0\.0'\. It has: tickets@1\.0\.0\."):
        await invoke(tools, request, new_context())


async def test_arguments_that_do_not_fit_reach_no_executor(tools: ToolActivities, desk: Desk) -> None:
    granted = new_context()
    with pytest.raises(EffectFailed, match="'title' is a required property"):
        await invoke(tools, open_ticket(after=1), granted)
    assert granted.key.effect not in desk.asked


async def test_it_heartbeats_while_the_executor_works(tools: ToolActivities) -> None:
    beats: list[object] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beats.append(1)
    await invoke(tools, open_ticket(title="slow", after=3), new_context(), environment)
    assert len(beats) >= 2


async def test_it_heartbeats_while_it_waits_for_a_free_container(image: str, db: Database) -> None:
    sandbox = DockerSandbox(image=image, scope=f"test-{uuid.uuid4().hex[:8]}", at_once=1)
    tools = ToolActivities({"container": ContainerExecutor(sandbox, image=image)}, PostgresContent(db))
    holder, waiter = new_context(PYTHON), new_context(PYTHON)
    of_holder, of_waiter = ActivityEnvironment(), ActivityEnvironment()
    containers: list[list[str]] = []
    of_waiter.on_heartbeat = lambda *_: containers.append(running_containers(waiter.key.run, "-a"))
    holding = asyncio.create_task(invoke(tools, run_python("import time; time.sleep(50)"), holder, of_holder))
    await until(lambda: bool(running_containers(holder.key.run)), seconds=30)
    waiting = asyncio.create_task(invoke(tools, run_python("print(42)"), waiter, of_waiter))
    await until(lambda: len(containers) >= 2, seconds=30)
    assert not any(containers), "it had its container already"
    of_holder.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert (await waiting).value.output == 42
    await sandbox.discard(waiter.key.effect)


async def test_a_long_text_is_cut_and_kept_whole(tools: ToolActivities, db: Database) -> None:
    outcome = await invoke(tools, open_ticket(title="y" * 5000), new_context())
    result = outcome.value
    assert result.output["title"] == "y" * 5000
    assert len(result.text) == 4096
    assert result.content is not None
    assert b"y" * 5000 in await PostgresContent(db).get("test", result.content)


async def test_a_cancelled_run_stops_it(tools: ToolActivities, desk: Desk) -> None:
    granted, environment = new_context(), ActivityEnvironment()
    running = asyncio.create_task(invoke(tools, open_ticket(title="never", after=20), granted, environment))
    await until(lambda: desk.at_work(granted.key))
    environment.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not desk.at_work(granted.key)
    assert "never" not in desk.opened


async def test_an_attempt_that_ends_leaves_it_to_the_next_one(tools: ToolActivities, desk: Desk) -> None:
    granted, environment = new_context(), ActivityEnvironment()
    running = asyncio.create_task(invoke(tools, open_ticket(title="once", after=2), granted, environment))
    await until(lambda: desk.at_work(granted.key))
    environment.cancel(cancellation_details=ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert desk.at_work(granted.key)
    outcome = await invoke(tools, open_ticket(title="once", after=2), replace(granted, ended=[]))  # a pass of its own
    assert outcome.value.output["title"] == "once"
    assert desk.opened.count("once") == 1
