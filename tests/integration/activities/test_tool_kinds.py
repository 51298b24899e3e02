"""A tool of another kind, added as `docs/extending.md` says: definition, executor, registration, run, receipts.

No imitations: the product's worker on real servers, and an executor that asks a ticket desk over HTTP.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from constitutions import activate_document
from executor_contract import Subject, ToolExecutorContract
from policies import minimal
from servers import free_ports
from temporalio.client import WorkflowFailureError, WorkflowHandle
from tickets import TOOL, Desk, TicketExecutor, ticket_desk

from activities.tools import ToolActivities
from capsules.audit.receipt import Receipt, verify_chain
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, digest
from capsules.errors import Invalid
from capsules.identity.authority import Authority
from capsules.runs.run import NewRun, RunStart
from capsules.tools.tool import TOOL_KINDS
from policy.forecasts.forecaster import learn
from sandbox.container import DockerSandbox
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library, read_tool
from somagent.content.postgres import PostgresContent
from somagent.db.database import Database
from somagent.forecasts.run_forecasts import ForecasterCache
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest
from somagent.identity.tokens import Tokens
from somagent.models.profiles import Profiles
from somagent.runs.admission import CapsuleAdmissions
from somagent.settings import Settings
from workers.assembly import Assembly, assemble, tool_executors
from workers.main import build_worker
from workers.queues import queues
from workflows.options import CAPSULES, PLATFORM, TOOLS

TENANT = "desk"
KINDS = TOOL_KINDS | {"tickets"}
CAPSULE = """
apiVersion: somagent/v1
kind: Capsule
metadata: {name: opens-a-ticket, version: 1.0.0, summary: Opens a ticket.}
spec:
  type: utility
  intent: Open a ticket.
  inputs: {type: object, required: [title], properties: {title: {type: string}}}
  deliverable: {schema: {type: object, required: [number]}}
  tools: [{use: tickets@1, actions: [open]}]
  guardrails: {max_steps: 1}
  budget: {tool_calls: 1, wall_clock: 1m}
  steps: [{id: ticket, use: tickets/open, with: {title: "${{ inputs.title }}"}}]
"""
RULES = minimal(
    metadata={"name": "desk", "version": "1.0.0"},
    articles=[
        {
            "id": "no-tickets",
            "forbid": "action.target == 'tickets@1.0.0/open' && actor.subject == 'mallory'",
            "because": "Mallory opens no tickets.",
        }
    ],
)


@pytest.fixture(scope="module")
async def desk() -> AsyncIterator[Desk]:
    async with ticket_desk() as running:
        yield running


@pytest.fixture
async def subject(desk: Desk) -> AsyncIterator[Subject]:
    async with (
        httpx.AsyncClient(base_url=desk.url) as http,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_ports(1)[0]}") as nowhere,
    ):
        yield Subject(
            executor=TicketExecutor(http),
            unreachable=TicketExecutor(nowhere),
            tool=read_tool(TOOL, filename="tickets.yaml", kinds=KINDS),
            action="open",
            unique={"title": "printer"},
            slow={"title": "later", "after": 30},
            long={"title": "x" * 5000},
            failing={"title": ""},
            at_work=desk.at_work,
        )


class TestContract(ToolExecutorContract):
    pass


@dataclass
class Deployment:
    """The product's worker with the executor registered, and what is needed to start runs on it."""

    assembly: Assembly
    keyring: KeyRing
    constitution: Digest

    async def start(self, title: str, *, actor: str = "ada") -> WorkflowHandle[Any, dict[str, Any]]:
        """Start the capsule; the handle's id is the run's."""
        capsule = load(CAPSULE)
        run = f"{TENANT}/{capsule.metadata.name}/{uuid.uuid4().hex}"
        inputs = {"title": title}
        new = NewRun(
            id=run, capsule=capsule.ref, digest=capsule.digest(), actor=actor, inputs=inputs, request=digest(inputs)
        )
        async with self.assembly.db.transaction(TENANT) as tx:
            await tx.runs.accept(new)
        authority = Authority(
            kind="start",
            tenant=TENANT,
            actor=actor,
            run=run,
            account=f"tenant:{TENANT}",
            capsules={capsule.ref: capsule.digest()},
            constitution=self.constitution,
            workflow_type="RunCapsule",
            queue=CAPSULES,
            inputs=digest(inputs),
            nonce=uuid.uuid4().hex,
            expires_at=int(time.time()) + 600,
        )
        start = RunStart(
            tenant=TENANT,
            capsule=capsule.ref,
            digest=capsule.digest(),
            inputs=inputs,
            authority=Tokens(self.keyring).mint_authority(authority),
        )
        client = self.assembly.client
        return await client.start_workflow("RunCapsule", start, id=run, task_queue=CAPSULES, result_type=dict)

    async def receipts(self, run: str) -> list[Receipt]:
        async with self.assembly.db.transaction(TENANT) as tx:
            return list(await tx.receipts.list(run))


async def publish(db: Database, keyring: KeyRing) -> None:
    capsule = load(CAPSULE)
    signature = sign_digest(keyring, "publisher", capsule.digest())
    async with db.transaction(TENANT) as tx:
        await tx.accounts.ensure(f"tenant:{TENANT}", Amounts(tokens=10**6, tool_calls=10**3))
        await tx.capsules.publish(
            capsule, digest=capsule.digest(), signature=signature.value, key_id=signature.key_id, by="ada"
        )


@contextlib.asynccontextmanager
async def deployment(settings: Settings, owner: Database, **executors: TicketExecutor) -> AsyncIterator[Deployment]:
    """Serve the queues that a utility capsule needs, with further executors beside the product's own."""
    keyring = KeyRing.create_missing(settings.keys_dir)
    await owner.tenants.add(TENANT)
    active = await activate_document(owner, keyring, RULES)
    library = Library.load()
    library = replace(library, tools=(*library.tools, read_tool(TOOL, filename="tickets.yaml", kinds=KINDS)))
    async with assemble(settings) as assembly, contextlib.AsyncExitStack() as stack:
        await publish(assembly.db, keyring)
        admissions = CapsuleAdmissions(
            assembly.db,
            keyring,
            library,
            profiles=Profiles.from_settings(settings),
            image=settings.sandbox_image,
            forecasters=ForecasterCache(assembly.db, learn),
        )
        registered = {**tool_executors(settings, assembly.sandbox), **executors}
        extended = replace(
            assembly,
            tools=ToolActivities(registered, PostgresContent(assembly.db)),
            admission=type(assembly.admission)(admissions),
        )
        for name in (CAPSULES, TOOLS, PLATFORM):
            await stack.enter_async_context(build_worker(extended, queues(extended)[name]))
        yield Deployment(extended, keyring, active.digest)


@pytest.fixture(scope="module")
async def tickets(
    postgres_settings: Settings, owner: Database, temporal_address: str, valkey: str, desk: Desk
) -> AsyncIterator[Deployment]:
    async with (
        httpx.AsyncClient(base_url=desk.url) as http,
        deployment(postgres_settings, owner, tickets=TicketExecutor(http)) as opened,
    ):
        yield opened


async def test_a_run_uses_the_tool_and_its_receipts_show_it(tickets: Deployment, desk: Desk) -> None:
    run = await tickets.start("the printer is on fire")
    ended = await run.result()
    assert (ended["status"], ended["output"]["title"]) == ("completed", "the printer is on fire"), ended
    assert desk.opened.count("the printer is on fire") == 1
    receipts = await tickets.receipts(run.id)
    assert verify_chain(receipts) is None
    [decision] = [r for r in receipts if r.body.get("action", {}).get("kind") == "tool.invoke"]
    action = decision.body["action"]
    assert (decision.body["decision"], action["target"]) == ("allow", "tickets@1.0.0/open")
    assert (action["effect"], action["egress"], action["idempotent"]) == ("write", "allowlist", True)
    outcome = receipts[receipts.index(decision) + 1]
    assert (outcome.kind, outcome.body["usage"]["tool_calls"]) == ("outcome", 1)
    assert [key for key in desk.asked if key.startswith(run.id)] == [], "forgotten once the answer was safe"


async def test_what_the_constitution_denies_reaches_no_executor(tickets: Deployment, desk: Desk) -> None:
    run = await tickets.start("let me in", actor="mallory")
    with pytest.raises(WorkflowFailureError) as failed:
        await run.result()
    assert "Mallory opens no tickets." in str(failed.value.cause)
    assert "let me in" not in desk.opened
    decisions = [r.body for r in await tickets.receipts(run.id) if r.kind == "decision"]
    assert [(one["action"]["kind"], one["decision"]) for one in decisions] == [
        ("capsule.start", "allow"),
        ("tool.invoke", "deny"),
    ]


def test_a_tool_file_of_a_kind_without_an_executor_is_refused() -> None:
    with pytest.raises(Invalid, match=r"line 6.*kind 'tickets' have no executor\. Known: .*\bcontainer\b"):
        read_tool(TOOL, filename="tickets.yaml")


def test_the_known_kinds_are_those_that_the_worker_registers() -> None:
    settings = Settings()
    assert tool_executors(settings, DockerSandbox(image=settings.sandbox_image)).keys() == TOOL_KINDS
