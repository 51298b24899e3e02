"""The shop of `deploy/examples/orders`, governed: a real worker, gate, Temporal and PostgreSQL."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from constitutions import activate_document
from foreign_calls import Asked, Calls, Leaves
from orders.activities import Shop
from orders.model import Address, Line, Order
from orders.workflows import Fulfilment, Shipping, Stocktakings
from servers import eventually
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from capsules.actions.activity_context import report_usage
from capsules.approvals.approval import Approval, ApprovalDecision, DecisionMade
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from capsules.governance.application import Application, Terms
from capsules.governance.governed import governed
from somagent.db.database import Store
from somagent.db.gate.decisions import PostgresDecisions
from somagent.governance.plugin import GovernancePlugin, governance
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens
from somagent.settings import Settings

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
    look_every=timedelta(milliseconds=200),
)


@dataclass
class Governed:
    """The governed shop and what is needed to speak to it and to look behind it."""

    plugin: GovernancePlugin
    client: Client
    store: Store
    settings: Settings
    shop: Shop
    queue: str
    address: str
    terms: Terms

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
        return await self.start(Calls.run, kind, list(arguments), how, workflow_id=workflow_id)

    async def run_of(self, handle: WorkflowHandle[Any, Any]) -> str:
        return self.terms.application.run(handle.id, handle.first_execution_run_id or handle.result_run_id or "")

    def book(self, whose: str) -> list[dict[str, Any]]:
        """Return what was done to the world for an order."""
        lines = self.shop.book.read_text("utf-8").splitlines() if self.shop.book.exists() else []
        return [each for each in map(json.loads, lines) if each["whose"] == whose]

    async def receipts(self, run: str) -> list[Any]:
        async with self.store.transaction(TENANT) as tx:
            return list(await tx.receipts.list(run))

    async def runs(self) -> list[Any]:
        async with self.store.transaction(TENANT) as tx:
            return list((await tx.runs.list(limit=100)).items)

    async def account(self, name: str) -> Account:
        async with self.store.transaction(TENANT) as tx:
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
        async with self.store.transaction(TENANT) as tx:
            return (await tx.approvals.list(state="pending", run=run)).items

    async def refused(self, run: str) -> None:
        """Return as soon as an action of a run was refused."""

        async def denied() -> None:
            assert "deny" in await self.decisions(run)

        await eventually(denied, seconds=15)

    async def decide(self, approval: Approval, *, approve: bool, by: str = "ana") -> DecisionMade:
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
        return await PostgresDecisions(self.store, tokens).decide(approval.run, TENANT, decision, approve=approve)


def new_order(cents: int = 2_000, lines: int = 2) -> Order:
    number = f"o-{uuid.uuid4().hex[:8]}"
    home = Address("Ada", "1 Main St", "Turin")
    return Order(number, [Line(f"sku-{n}", n + 1) for n in range(lines)], cents, home)


class Extras:
    """More activities of the shop: those that only some test needs."""

    def __init__(self, book: Path) -> None:
        self.book = book

    @activity.defn
    @governed(effect="write", data="internal", egress="open", cost=Amounts(micro_usd=100))
    async def decline(self, order: str) -> None:
        report_usage(Amounts(micro_usd=70))
        raise ApplicationError("the bank says no", type="Declined")

    @activity.defn
    @governed(effect="read", data="internal", egress="none", idempotent=True)
    async def weigh(self, order: str) -> bytes:
        return b"\x00\xff"

    @activity.defn
    @governed(effect="read", data="internal", egress="none", idempotent=True)
    async def ship_slowly(self, order: str) -> list[str]:
        """Keep in heartbeats how far it is, die, and tell what the next attempt found."""
        if activity.info().attempt == 1:
            activity.heartbeat("half", "way")
            await asyncio.sleep(2.5)
            raise ApplicationError("the lorry broke down")
        return list(activity.info().heartbeat_details)

    @activity.defn
    @governed(effect="write", data="internal", egress="open", target="bank/notify")
    async def notify_bank(self, order: str) -> None:
        with self.book.open("a", encoding="utf-8") as book:
            book.write(json.dumps({"what": "notified", "whose": order}) + "\n")


def all_activities(shop: Shop) -> list[Any]:
    extras = Extras(shop.book)
    return [
        shop.reserve_stock,
        shop.charge_card,
        shop.book_parcel,
        shop.count_shelf,
        shop.erase_customer,
        shop.ping,
        shop.forgotten,
        extras.decline,
        extras.weigh,
        extras.notify_bank,
        extras.ship_slowly,
    ]


@asynccontextmanager
async def governed_shop(
    settings: Settings,
    store: Store,
    address: str,
    book: Path,
    *,
    terms: Terms = TERMS,
    before: Sequence[Any] = (),
    twice: bool = False,
    encrypt: bool = False,
) -> AsyncIterator[Governed]:
    """Run the governed shop on a queue of its own. `before`: interceptors that stand before the gate."""
    shop = Shop(book)
    queue = f"orders-{uuid.uuid4().hex[:8]}"
    async with governance(settings, terms, encrypt=encrypt) as plugin:
        client = await Client.connect(address, plugins=[plugin], interceptors=before)
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Fulfilment, Shipping, Stocktakings, Asked, Calls, Leaves],
            activities=all_activities(shop),
            activity_executor=ThreadPoolExecutor(4),
            plugins=[plugin] if twice else [],
        ):
            yield Governed(plugin, client, store, settings, shop, queue, address, terms)


@pytest.fixture(scope="session")
async def shop(
    postgres_settings: Settings,
    owner: Store,
    store: Store,
    temporal_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Governed]:
    keyring = KeyRing.create_missing(postgres_settings.keys_dir)
    await owner.tenants.add(TENANT)
    async with store.transaction(TENANT) as tx:
        await tx.accounts.ensure(f"tenant:{TENANT}", Amounts(tool_calls=10**6, micro_usd=10**12))
    await activate_document(owner, keyring, CONSTITUTION, scope=TENANT)
    book = tmp_path_factory.mktemp("orders") / "book.jsonl"
    async with governed_shop(postgres_settings, store, temporal_address, book) as running:
        yield running


@pytest.fixture
def order() -> Callable[..., Order]:
    return new_order


@pytest.fixture(name="governed")
def governed_again(shop: Governed) -> Callable[..., AbstractAsyncContextManager[Governed]]:
    """Run the shop once more, on another queue, under terms of its own."""

    def start(**changes: Any) -> AbstractAsyncContextManager[Governed]:
        return governed_shop(shop.settings, shop.store, shop.address, shop.shop.book, **changes)

    return start


@pytest.fixture
def activities() -> Callable[[Shop], list[Any]]:
    return all_activities


@pytest.fixture
def activate(owner: Store) -> Callable[..., Awaitable[Any]]:
    """Make the shop's constitution count for another tenant, too."""

    async def make(keyring: KeyRing, *, scope: str) -> None:
        await owner.tenants.add(scope)
        await activate_document(owner, keyring, CONSTITUTION, scope=scope)

    return make
