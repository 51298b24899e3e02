"""What a chaos test does and looks at: parts killed for good, calls that outlive it, containers as the engine saw them."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import docker
import httpx
import psutil
from platforms import ENDED, Platform

from somagent.local_stack.database_roles import DATABASE
from somagent.local_stack.postgres import superuser
from somagent.local_stack.supervisor import Supervisor
from somagent.settings import Settings

NEVER_BEGAN = "121"  # exit code of the sandbox's supervisor when its input was cut off: the command did not run
DIMENSIONS = ("tokens", "micro_usd", "tool_calls")
GONE = {502, 503, 504}


def kill(supervisor: Supervisor, part: str) -> int:
    """Kill the process of a part as nothing else can, and return how often it had been restarted before."""
    state = supervisor.runners[part].state
    assert state.process is not None, f"{part} has no process: it is {state.phase}"
    psutil.Process(state.process.pid).kill()
    return state.restarts


async def wait_until_ready(supervisor: Supervisor, part: str, restarts: int, *, seconds: float = 60) -> None:
    """Wait until the supervisor has the part ready again."""
    deadline = time.monotonic() + seconds
    while (state := supervisor.runners[part].state).phase != "ready" or state.restarts == restarts:
        assert time.monotonic() < deadline, f"{part} is {state.phase} after {seconds} s: {state.message}"
        await asyncio.sleep(0.05)


async def retry_while_away(
    client: httpx.AsyncClient, method: str, path: str, *, seconds: float = 60, **rest: Any
) -> httpx.Response:
    """Ask again while the API, or what it needs, is away."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = await client.request(method, path, **rest)
            if answer.status_code not in GONE:
                return answer
            why = answer.text
        except httpx.TransportError as error:
            why = repr(error)
        assert time.monotonic() < deadline, f"{method} {path} fails for {seconds} s: {why}"
        await asyncio.sleep(0.2)


async def statuses(platform: Platform, runs: list[str]) -> dict[str, dict[str, Any]]:
    """Return the given runs as lists show them, whatever is down meanwhile."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 200, **({"cursor": cursor} if cursor else {})}
        page = (await retry_while_away(platform.operator, "GET", "/v1/runs", params=params)).json()
        found |= {run["id"]: run for run in page["items"] if run["id"] in runs}
        if (cursor := page["next"]) is None:
            return found


async def all_ended(platform: Platform, runs: list[str], *, seconds: float) -> dict[str, dict[str, Any]]:
    """Wait until every run has ended and return them."""
    deadline = time.monotonic() + seconds
    while True:
        shown = await statuses(platform, runs)
        open_ = {id_: run["status"] for id_, run in shown.items() if run["status"] not in ENDED}
        if not open_ and len(shown) == len(runs):
            return shown
        assert time.monotonic() < deadline, f"after {seconds} s: {open_}"
        await asyncio.sleep(0.5)


class Containers:
    """The containers that one installation starts, as the engine tells of them.

    Told live: the engine remembers only its last 256 events, and others use it too.
    """

    def __init__(self, engine: docker.DockerClient, settings: Settings) -> None:
        self._engine = engine
        self._label = f"somagent.scope={settings.container_scope}"
        self.begun: Counter[str] = Counter()
        """How often the command in a container of each name began. A name stands for one effect."""

    def take(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "start":
                self.begun[attributes["name"]] += 1
            elif attributes.get("exitCode") == NEVER_BEGAN:
                self.begun[attributes["name"]] -= 1

    def running(self) -> list[str]:
        found = self._engine.containers.list(filters={"label": self._label}, sparse=True)
        return [str(container.id) for container in found]


@contextmanager
def containers(settings: Settings) -> Iterator[Containers]:
    """Watch the containers that this installation starts from now on."""
    with closing(docker.from_env()) as engine:
        seen = Containers(engine, settings)
        filters = {
            "type": "container",
            "event": ["start", "die"],
            "label": f"somagent.scope={settings.container_scope}",
        }
        events = engine.events(filters=filters, decode=True)
        watching = threading.Thread(target=seen.take, args=(events,), daemon=True)
        watching.start()
        try:
            yield seen
        finally:
            events.close()
            watching.join(5)


async def query_rows(settings: Settings, query: str, *arguments: Any) -> list[dict[str, Any]]:
    """Read as the superuser, whom row security does not bind."""
    async with superuser(settings, database=DATABASE) as connection:
        return [dict(row) for row in await connection.fetch(query, *arguments)]


async def unbalanced_accounts(settings: Settings) -> list[dict[str, Any]]:
    """Return every account whose entries do not add up to its columns, or that is closed and still holds something."""
    columns = [f"{what}_{dimension}" for what in ("limit", "spent", "reserved") for dimension in DIMENSIONS]
    differs = " OR ".join(f"a.{column} <> coalesce(e.{column}, 0)" for column in columns)
    holds = " OR ".join(f"a.reserved_{dimension} <> 0" for dimension in DIMENSIONS)
    sums = ", ".join(f"sum({column}) AS {column}" for column in columns)
    return await query_rows(
        settings,
        f"SELECT a.* FROM budget_accounts a LEFT JOIN "
        f"(SELECT tenant_id, account, {sums} FROM ledger_entries GROUP BY 1, 2) e "
        f"ON (e.tenant_id, e.account) = (a.tenant_id, a.id) "
        f"WHERE {differs} OR (a.closed_at IS NOT NULL AND ({holds}))",
    )
