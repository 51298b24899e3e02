"""The shop of `deploy/examples/orders`, governed: its own process, and a real gate, Temporal and PostgreSQL.

This process only starts its workflows, by name: the application's modules have names that ours have too.
"""

import asyncio
import json
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from application_workflows import CallOneActivity
from constitutions import activate_document
from servers import eventually
from sources import ROOT
from temporalio.client import Client, WorkflowHandle

from capsules.approvals.approval import Approval, ApprovalDecision, DecisionResult
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from capsules.governance.application import Application, Terms
from somagent.db.database import Database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.governance import governance
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens
from somagent.local_stack.environment import product_environment
from somagent.settings import Settings

ORDERS = ROOT / "deploy" / "examples" / "orders"
SUPPORT = ROOT / "tests" / "support"
TENANT = "shop"
CONSTITUTION = {
    "apiVersion": "somagent/v1",
    "kind": "Constitution",
    "metadata": {"name": "shop", "version": "1.0.0"},
    "score": {"threshold": 0.1, "ask_from": 0.0, "features": [{"name": "one", "weight": 1, "value": "1.0"}]},
    "articles": [
        {"id": "no-erasing", "forbid": 'action.effect == "destructive"', "because": "Customers are not erased here."},
        {
            "id": "no-secrets-in-stock",
            "forbid": 'action.target == "orders/reserve_stock" && signals.secrets >= 0.9',
            "because": "The warehouse is told no secrets.",
        },
    ],
    "approvals": [
        {"id": "large-charges", "ask_when": "action.micro_usd > 100000000", "because": "Over 100 dollars, a person."},
        {
            "id": "bank",
            "ask_when": 'action.target == "bank/notify"',
            "expires": "1s",
            "because": "The bank is told by a person.",
        },
    ],
}
TERMS = Terms(
    application=Application(tenant=TENANT, name="orders"),
    actor="orders-service",
    budget=Amounts(tool_calls=20, micro_usd=1_000_000_000),
    platform=frozenset({"ping"}),
    retry_interval=timedelta(milliseconds=200),
)


@dataclass
class OrdersProcess:
    """The process of the example application. It serves the workers that it is told to start."""

    process: Process

    async def do(self, what: str, **command: Any) -> list[str]:
        """Return the warnings of one command."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": what} | command).encode() + b"\n")
        answer = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert answer, f"the application died of this command: {what}"
        return json.loads(answer)


@dataclass
class Governed:
    """The governed shop and what is needed to speak to it and to look behind it."""

    application: OrdersProcess
    client: Client
    db: Database
    settings: Settings
    book_file: Path
    queue: str
    address: str
    terms: Terms
    warned: list[str]

    async def start(self, run: Any, *args: Any, workflow_id: str | None = None) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            run, args=args, id=workflow_id or f"order {uuid.uuid4().hex[:8]}", task_queue=self.queue
        )

    async def call(self, kind: str, *arguments: Any, how: str = "fails fast") -> tuple[Any, str]:
        """Return what the activity, or its refusal, said, and the run's id."""
        handle = await self.call_later(kind, *arguments, how=how)
        return await handle.result(), await self.run_of(handle)

    async def call_later(
        self, kind: str, *arguments: Any, how: str, workflow_id: str | None = None
    ) -> WorkflowHandle[Any, Any]:
        return await self.start(CallOneActivity.run, kind, list(arguments), how, workflow_id=workflow_id)

    async def run_of(self, handle: WorkflowHandle[Any, Any]) -> str:
        return self.terms.application.run(handle.id, handle.first_execution_run_id or handle.result_run_id or "")

    def book(self, whose: str) -> list[dict[str, Any]]:
        """Return what was done to the world for an order."""
        lines = self.book_file.read_text("utf-8").splitlines() if self.book_file.exists() else []
        return [each for each in map(json.loads, lines) if each["whose"] == whose]

    async def replay(self, handle: WorkflowHandle[Any, Any], file: Path) -> None:
        """Replay a workflow's history in the application, with the plugin."""
        file.write_text((await handle.fetch_history()).to_json(), "utf-8")
        await self.application.do("replay", history=str(file), terms=self.terms.model_dump(mode="json"))

    def caller(self, terms: Terms) -> AbstractAsyncContextManager[Client]:
        """Yield a client that starts workflows under other terms."""
        return governed_client(self.settings, self.address, terms)

    async def receipts(self, run: str) -> list[Any]:
        async with self.db.transaction(TENANT) as tx:
            return list(await tx.receipts.list(run))

    async def runs(self) -> list[Any]:
        async with self.db.transaction(TENANT) as tx:
            return list((await tx.runs.list(limit=100)).items)

    async def account(self, name: str) -> Account:
        async with self.db.transaction(TENANT) as tx:
            return await tx.accounts.get(name)

    async def decisions(self, run: str) -> list[str]:
        return [r.body["decision"] if r.kind == "decision" else r.kind for r in await self.receipts(run)]

    async def pending(self, run: str) -> Approval:
        """Return the approval that a run waits for, as soon as it waits."""

        async def asked() -> None:
            assert await self.waiting(run), f"{run} asks nobody"

        await eventually(asked, seconds=15)
        return (await self.waiting(run))[0]

    async def waiting(self, run: str) -> tuple[Approval, ...]:
        async with self.db.transaction(TENANT) as tx:
            return (await tx.approvals.list(state="pending", run=run)).items

    async def refused(self, run: str) -> None:
        """Return as soon as an action of a run was refused."""

        async def denied() -> None:
            assert "deny" in await self.decisions(run)

        await eventually(denied, seconds=15)

    async def decide(self, approval: Approval, *, approve: bool, by: str = "ana") -> DecisionResult:
        """Decide as the API does: by an attestation of who decides."""
        tokens = Tokens(KeyRing.load(self.settings.keys_dir))
        attestation = Attestation(
            tenant=TENANT,
            subject=by,
            capabilities=frozenset({"approval:decide"}),
            purpose="approve" if approve else "deny",
            run=approval.run,
            approval=approval.id,
            action=approval.action,
        )
        decision = ApprovalDecision(
            approval=approval.id,
            action=approval.action,
            comment="looked at it",
            token=tokens.mint_attestation(attestation),
        )
        return await PostgresApprovalDecisions(self.db, tokens).decide(approval.run, TENANT, decision, approve=approve)


def new_order(cents: int = 2_000, lines: int = 2) -> dict[str, Any]:
    return {
        "id": f"o-{uuid.uuid4().hex[:8]}",
        "lines": [{"sku": f"sku-{n}", "quantity": n + 1} for n in range(lines)],
        "total_cents": cents,
        "address": {"name": "Ada", "street": "1 Main St", "city": "Turin"},
    }


@pytest.fixture(scope="session")
async def application(postgres_settings: Settings) -> AsyncIterator[OrdersProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orders_worker"),
        cwd=ORDERS,
        env=product_environment(postgres_settings) | {"PYTHONPATH": str(SUPPORT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield OrdersProcess(process)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def governed_client(
    settings: Settings, address: str, terms: Terms, *, encrypt: bool = False
) -> AsyncIterator[Client]:
    """Yield a client of the application: it starts workflows under these terms and runs no worker."""
    async with governance(settings, terms, encrypt=encrypt) as plugin:
        yield await Client.connect(address, plugins=[plugin])


@asynccontextmanager
async def governed_shop(
    application: OrdersProcess,
    settings: Settings,
    db: Database,
    address: str,
    book: Path,
    *,
    terms: Terms = TERMS,
    plugin: str = "client",
    answers: Path | None = None,
    encrypt: bool = False,
) -> AsyncIterator[Governed]:
    """Run a worker of the shop on a queue of its own. `answers`: its workers lose their first reports, see there."""
    queue = f"orders-{uuid.uuid4().hex[:8]}"
    warned = await application.do(
        "start",
        queue=queue,
        terms=terms.model_dump(mode="json"),
        address=address,
        book=str(book),
        plugin=plugin,
        answers=answers and str(answers),
        encrypt=encrypt,
    )
    try:
        async with governed_client(settings, address, terms, encrypt=encrypt) as client:
            yield Governed(application, client, db, settings, book, queue, address, terms, warned)
    finally:
        await application.do("stop", queue=queue)


@pytest.fixture(scope="session")
async def shop(  # noqa: PLR0917 - what it is made of
    application: OrdersProcess,
    postgres_settings: Settings,
    owner: Database,
    db: Database,
    temporal_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Governed]:
    keyring = KeyRing.create_missing(postgres_settings.keys_dir)
    await owner.tenants.add(TENANT)
    async with db.transaction(TENANT) as tx:
        await tx.accounts.ensure(f"tenant:{TENANT}", Amounts(tool_calls=10**6, micro_usd=10**12))
    await activate_document(owner, keyring, CONSTITUTION, scope=TENANT)
    book = tmp_path_factory.mktemp("orders") / "book.jsonl"
    async with governed_shop(application, postgres_settings, db, temporal_address, book) as running:
        yield running


@pytest.fixture
def order() -> Callable[..., dict[str, Any]]:
    return new_order


@pytest.fixture(name="governed")
def governed_again(shop: Governed) -> Callable[..., AbstractAsyncContextManager[Governed]]:
    """Run the shop once more, on another queue, under terms of its own."""

    def start(**changes: Any) -> AbstractAsyncContextManager[Governed]:
        return governed_shop(shop.application, shop.settings, shop.db, shop.address, shop.book_file, **changes)

    return start


@pytest.fixture
def activate(owner: Database) -> Callable[..., Awaitable[Any]]:
    """Make the shop's constitution count for another tenant, too."""

    async def make(keyring: KeyRing, *, scope: str) -> None:
        await owner.tenants.add(scope)
        await activate_document(owner, keyring, CONSTITUTION, scope=scope)

    return make
