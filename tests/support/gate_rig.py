"""Rig of the gate's tests: a worker with every governed activity, a constitution for each of them, and forged calls."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from capsule_texts import thinker
from locks import lock_of
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from activities.admission import AdmissionActivities
from activities.artifacts import ArtifactActivities
from activities.memory import MemoryActivities
from activities.model_calls import ModelActivities
from activities.registry import GOVERNED
from activities.tools import ToolActivities
from capsules.actions.headers import AUTHORITY
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, digest
from capsules.identity.authority import Authority
from capsules.memory.items import EmbedRequest, RecallQuery, Remember
from capsules.models.chat import ChatRequest, Message
from capsules.names import parse_reference
from capsules.runs.run import ArtifactDraft, NewRun, StartCapsule
from capsules.tools.tool import ToolRequest
from policy.forecasts.forecaster import learn
from sandbox.container import DockerSandbox
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library
from somagent.content.postgres import PostgresArtifacts, PostgresContent
from somagent.db.database import Database
from somagent.forecasts.run_forecasts import ForecasterCache
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.messaging.event_bus import EventBus, ValkeyTokens
from somagent.models.client import PydanticAiModel
from somagent.models.profiles import Profiles
from somagent.runs.admission import CapsuleAdmissions
from somagent.settings import Settings
from workers.assembly import tool_executors

QUEUE = "gate-tests"
FORGED = "forged-headers"
TENANT = "gate"
ALLOW_ALL = {"threshold": 0.1, "ask_from": 0.0, "features": [{"name": "one", "weight": 1, "value": "1.0"}]}


def constitution(name: str, **clauses: object) -> dict[str, Any]:
    return {
        "apiVersion": "somagent/v1",
        "kind": "Constitution",
        "metadata": {"name": name, "version": "1.0.0"},
        "score": ALLOW_ALL,
        **clauses,
    }


DENYING = constitution("denying", articles=[{"id": "nothing", "forbid": "true", "because": "Nothing is allowed here."}])
ASKING = constitution(
    "asking", approvals=[{"id": "everything", "ask_when": "true", "because": "A person decides all."}]
)
CAREFUL = constitution(
    "careful",
    articles=[{"id": "steering", "forbid": "signals.injection >= 0.5", "because": "A text must not steer the model."}],
    approvals=[
        {"id": "secrets", "ask_when": "signals.secrets > 0.0", "because": "A person looks at what may be a secret."},
        {
            "id": "unproven",
            "ask_when": "signals.trust < 0.4 || actor.standing < 0.4",
            "because": "Too much of it failed or was denied.",
        },
    ],
)
ALLOWING = constitution("allowing")


@dataclass
class Question:
    """Which activity to ask for, under what authority."""

    kind: str
    argument: Any
    authority: str
    forge: Any = None


@workflow.defn(name="Asks", sandboxed=False)
class Asks:
    """Asks for one activity and tells how it was answered. Not sandboxed: it is the test's, not the product's."""

    @workflow.init
    def __init__(self, question: Question) -> None:
        self.authority = question.authority
        self.question = question

    @workflow.run
    async def run(self, question: Question) -> dict[str, Any]:
        try:
            return await workflow.execute_activity(
                question.kind,
                question.argument,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3),
            )
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            return {"refused": cause.type, "why": cause.message, "final": cause.non_retryable}


@workflow.defn(name="Continues", sandboxed=False)
class Continues:
    """Continues as new when it is given an authority, and asks for one activity with it."""

    @workflow.init
    def __init__(self, question: Question) -> None:
        self.question = question

    @property
    def authority(self) -> str:
        return self.question.authority

    @workflow.signal
    def give(self, authority: str) -> None:
        self.question = replace(self.question, authority=authority)

    @workflow.run
    async def run(self, question: Question) -> dict[str, Any]:
        if not question.authority:
            await workflow.wait_condition(lambda: bool(self.authority))
            workflow.continue_as_new(self.question)
        return await Asks.run(self, question)  # type: ignore[arg-type]


class Forging(Interceptor):
    """Changes the header that the authority interceptor adds, as a question says."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        return _Forging


class _Forging(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Forged(outbound))


class _Forged(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        header = PayloadConverter.default.from_payload(input.headers[AUTHORITY])
        change = workflow.instance().question.forge
        forged = {**header, **change} if isinstance(change, dict) else header["authority"]
        headers = {AUTHORITY: PayloadConverter.default.to_payload(forged)} if change is not None else {}
        input.headers = headers
        return super().start_activity(input)


@activity.defn(name="something.else")
async def something_else(_: dict[str, Any]) -> str:
    return "had an effect"


@dataclass
class Rig:
    """A worker with the gate before it, and what is needed to speak to it."""

    client: Client
    db: Database
    tokens: Tokens
    digests: dict[str, Digest] = field(default_factory=dict)

    def authority(self, for_run: str, under: str = "allowing", **changes: Any) -> str:
        claims: dict[str, Any] = {
            "kind": "run",
            "tenant": TENANT,
            "actor": "tester",
            "run": for_run,
            "capsule": "asks@1.0.0",
            "account": f"run:{for_run}",
            "capsules": {"asks@1.0.0": digest({})},
            "kinds": [name for name, _ in GOVERNED],
            "targets": ["python@1.0.0/run"],
            "constitution": self.digests[under],
            "lock": LOCK.digest(),
            "expires_at": int(time.time()) + 600,
            **changes,
        }
        return self.tokens.mint_authority(Authority.model_validate(claims))

    async def ask(self, kind: str, argument: Any, authority: str, run: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client.execute_workflow(
            "Asks", Question(kind, argument, authority), id=run, task_queue=QUEUE, result_type=dict
        )
        return answer

    async def receipts(self, run: str) -> list[str]:
        async with self.db.transaction(TENANT) as tx:
            return [r.body["decision"] if r.kind == "decision" else r.kind for r in await tx.receipts.list(run)]

    async def new_run(self, limit: Amounts | None = None, *, actor: str = "tester") -> str:
        """Return a run id with an account and a lock of its own."""
        run = f"{TENANT}/asks/{uuid.uuid4().hex}"
        account = f"run:{run}"
        async with self.db.transaction(TENANT) as tx:
            await tx.accounts.carve(f"tenant:{TENANT}", account, limit or Amounts(tokens=9000, tool_calls=5))
            new = NewRun(id=run, capsule=CAPSULE.ref, digest=digest({}), actor=actor, request=digest({}))
            await tx.runs.accept(new)
            lock = LOCK.model_dump(mode="json")
            await tx.runs.admit(run, digest=digest({}), parent=None, account=account, lock=lock)
        return run


PYTHON = Library.load().tool(parse_reference("python@1"))
CAPSULE = load(thinker("asks"))
LOCK = lock_of(CAPSULE, [PYTHON])


def arguments() -> dict[str, Any]:
    return {
        "slm.chat": ChatRequest(role="dialogue", messages=(Message(role="user", text="Hello"),), max_output_tokens=8),
        "slm.embed": EmbedRequest(texts=("hello",)),
        "memory.remember": Remember(space="default", text="hello"),
        "memory.recall": RecallQuery(space="default", query="hello"),
        "tool.invoke": ToolRequest(tool=PYTHON.ref, action="run", arguments={"code": "print(1)"}),
        "artifact.publish": ArtifactDraft(name="a.json", content={"a": 1}),
        "capsule.start": StartCapsule(capsule="asks@1.0.0", digest=digest({}), inputs=digest({})),
    }


KINDS = [name for name, _ in GOVERNED]


def claims_of(kind: str) -> dict[str, Any]:
    """Return the claims that an authority needs for this kind of action beside those of a run's."""
    if kind != "capsule.start":
        return {}
    return {"kind": "start", "workflow_type": "Asks", "queue": QUEUE, "inputs": digest({}), "nonce": "once"}


@asynccontextmanager
async def worker(
    client: Client, db: Database, bus: EventBus, settings: Settings, interceptors: list[Any], *, queue: str = QUEUE
) -> AsyncIterator[None]:
    content, embedder = PostgresContent(db), MiniLmEmbedder()
    async with PydanticAiModel(Profiles.from_settings(settings)) as models:
        remembering = MemoryActivities(embedder, PostgresMemories(db, embedder))
        thinking = ModelActivities(models, content, ValkeyTokens(bus))
        tools = ToolActivities(tool_executors(settings, DockerSandbox(image=settings.sandbox_image)), content)
        publishing = ArtifactActivities(PostgresArtifacts(db))
        keyring = KeyRing.load(settings.keys_dir)
        admissions = CapsuleAdmissions(
            db,
            keyring,
            Library.load(),
            profiles=Profiles.from_settings(settings),
            image=settings.sandbox_image,
            forecasters=ForecasterCache(db, learn),
        )
        starting = AdmissionActivities(admissions)
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Asks, Continues],
            activities=[
                thinking.chat,
                remembering.embed,
                remembering.remember,
                remembering.recall,
                tools.invoke,
                publishing.publish,
                starting.start,
                something_else,
            ],
            interceptors=interceptors,
        ):
            yield
