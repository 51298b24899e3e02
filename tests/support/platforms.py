"""The whole platform for a test: real servers, worker, tools worker, relay and API as processes, and a client of the API."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from client_cli import CommandResult, somagent
from servers import running

from somagent.cli.credentials import PrincipalToken
from somagent.local_stack.supervisor import Supervisor
from somagent.settings import Settings

ENDED = {"completed", "failed", "cancelled"}


@dataclass
class Platform:
    """A started stack, as its two principals see it."""

    settings: Settings
    supervisor: Supervisor
    operator: httpx.AsyncClient
    approver: httpx.AsyncClient

    async def cli(self, *arguments: object, stdin: str = "") -> CommandResult:
        """Run one command of `somagent` against this stack."""
        return await asyncio.to_thread(somagent, *map(str, arguments), settings=self.settings, stdin=stdin)

    async def publish(self, capsule: str) -> str:
        """Publish a capsule file and return its reference."""
        answer = await self.operator.post("/v1/capsules", content=capsule, headers={"content-type": "application/yaml"})
        assert answer.status_code in {200, 201}, answer.text
        metadata = answer.json()["capsule"]["metadata"]
        return f"{metadata['name']}@{metadata['version']}"

    async def start(self, ref: str, inputs: dict[str, Any], *, key: str | None = None) -> str:
        """Start a run and return its id."""
        answer = await self.operator.post(
            f"/v1/capsules/{quote(ref, safe='@')}/runs",
            json={"inputs": inputs},
            headers={"Idempotency-Key": key} if key else {},
        )
        assert answer.status_code in {200, 202}, answer.text
        return str(answer.json()["id"])

    async def show(self, run: str) -> dict[str, Any]:
        answer = await self.operator.get(f"/v1/runs/{quote(run, safe='')}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def until(self, run: str, *statuses: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until the run is in one of the statuses (or has ended) and return it."""
        deadline = time.monotonic() + seconds
        while True:
            shown = await self.show(run)
            if shown["status"] in statuses or (shown["status"] in ENDED):
                return shown
            assert time.monotonic() < deadline, f"{run} is {shown['status']} after {seconds} s: {shown['reason']}"
            await asyncio.sleep(0.1)

    async def run(self, ref: str, inputs: dict[str, Any], *, seconds: float = 90) -> dict[str, Any]:
        """Start a run, wait for its end and return it."""
        return await self.until(await self.start(ref, inputs), seconds=seconds)

    async def receipts(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            answer = await self.operator.get(f"/v1/runs/{quote(run, safe='')}/receipts", params={"after": after})
            assert answer.status_code == 200, answer.text
            part = answer.json()
            found += part["items"]
            if part["next"] is None:
                return found
            after = part["next"]

    async def tell(self, run: str, what: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return await self.operator.post(f"/v1/runs/{quote(run, safe='')}/{what}", json=body or {})

    async def approvals(self, run: str) -> list[dict[str, Any]]:
        answer = await self.approver.get("/v1/approvals", params={"run": run, "state": "pending"})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def account(self, run: str | None = None) -> dict[str, Any]:
        where = f"runs/{quote(run, safe='')}" if run else "tenant"
        answer = await self.operator.get(f"/v1/budgets/{where}")
        assert answer.status_code == 200, answer.text
        account: dict[str, Any] = answer.json()["account"]
        return account


@asynccontextmanager
async def platform_in(settings: Settings) -> AsyncIterator[Platform]:
    """Start every part and yield the platform; stop it all afterwards."""
    async with running(settings) as supervisor:

        def client(name: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=settings.api_base(), auth=PrincipalToken(settings, name), timeout=60)

        async with client("operator") as operator, client("approver") as approver:
            yield Platform(settings, supervisor, operator, approver)
