"""The composition root of a worker process: opens every adapter once and closes it at the end."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from temporalio.client import Client

from activities.bookkeeping import Bookkeeping
from activities.constituting import Constituting
from activities.publishing import Publishing
from activities.remembering import Remembering
from activities.roster import GOVERNED, PLATFORM
from activities.starting import Starting
from activities.thinking import Thinking
from activities.tools import Tools
from capsules.errors import ConstitutionRefused
from capsules.ports import Sandbox, ToolExecutor
from policy.forecasts.forecaster import learn
from policy.gate import Gate
from policy.interceptor import PolicyInterceptor, governs
from policy.source import Policies, verified
from sandbox.container import DockerSandbox
from sandbox.executor import ContainerExecutor
from somagent.admission import CapsuleAdmissions
from somagent.bus.streams import Bus
from somagent.bus.tokens import ValkeyTokens
from somagent.content.artifacts import PostgresArtifacts
from somagent.content.postgres import PostgresContent
from somagent.forecasting import Forecasting
from somagent.foresight import LearnedForesight
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.identity.trust import ConstitutionTrust
from somagent.library import Library
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.rates.windows import ValkeyWindows
from somagent.settings import Settings
from somagent.slm.client import PydanticAiModel
from somagent.slm.profiles import Profiles
from somagent.store.closing import PostgresRuns
from somagent.store.database import Store, open_store
from somagent.store.decisions import PostgresDecisions
from somagent.store.ledger import PostgresLedger
from somagent.temporal.client import connect
from workers.constituting import constitution_office
from workers.metrics import GateMetrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Assembly:
    """What a worker process works with."""

    client: Client
    interceptor: PolicyInterceptor
    metrics: GateMetrics
    store: Store
    settings: Settings
    thinking: Thinking
    remembering: Remembering
    tools: Tools
    publishing: Publishing
    starting: Starting
    bookkeeping: Bookkeeping
    constituting: Constituting
    sandbox: DockerSandbox


def tool_executors(settings: Settings, sandbox: Sandbox) -> Mapping[str, ToolExecutor]:
    """Return the executor of each kind of tool: every kind in `capsules.tool.TOOL_KINDS` and no other."""
    return {"container": ContainerExecutor(sandbox, image=settings.sandbox_image)}


async def _look(store: Store, trust: ConstitutionTrust) -> None:
    """Raise ConstitutionRefused when none is active, or the active one was altered.

    Under one that is revoked, or whose signatures no longer suffice, a worker starts: the gate lets nothing through,
    and without the platform's worker nobody could activate another.
    """
    found = await store.constitutions.active_digest()
    if found is None:
        raise ConstitutionRefused("No constitution is active, so nothing may run. `somagent up` installs one.")
    active = await store.constitutions.get(found)
    try:
        verified(active, found, trust)
    except ConstitutionRefused as error:
        log.warning("constitution_not_in_force", why=error.message)


@asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Assembly]:
    """Open everything. Raises ConstitutionRefused when the active constitution was altered, or none is active."""
    keyring = KeyRing.load(settings.keys_dir)
    tokens = Tokens(keyring)
    library = Library.load()
    trust = ConstitutionTrust(settings.keys_dir, settings.constitution_signatures)
    async with open_store(settings.database("app"), codec=keyring.codec) as store:
        await _look(store, trust)
        content = PostgresContent(store)
        profiles = Profiles.from_settings(settings)
        embedder = MiniLmEmbedder()
        sandbox = DockerSandbox(
            image=settings.sandbox_image,
            host=settings.docker_host,
            runtime=settings.sandbox_runtime,
            scope=settings.container_scope,
        )
        metrics = GateMetrics()
        policies = Policies(store.constitutions.get, trust)
        async with (
            Bus(settings.redis_target()) as bus,
            ValkeyWindows(settings.redis_target(), store) as windows,
            PydanticAiModel(profiles) as models,
            constitution_office(settings, store, tokens, trust, proved=metrics.proved) as office,
        ):
            forecasting = Forecasting(store, learn)
            gate = Gate(
                tokens,
                policies,
                PostgresLedger(store),
                clock=time.time,
                watch=metrics.passed,
                windows=windows,
                foresight=LearnedForesight(store, forecasting, profiles),
            )
            yield Assembly(
                client=await connect(settings, keyring),
                interceptor=PolicyInterceptor(gate, governed=governs(*GOVERNED), platform=PLATFORM),
                metrics=metrics,
                store=store,
                settings=settings,
                thinking=Thinking(models, content, ValkeyTokens(bus)),
                remembering=Remembering(embedder, PostgresMemories(store, embedder)),
                tools=Tools(tool_executors(settings, sandbox), content),
                publishing=Publishing(content, PostgresArtifacts(store)),
                starting=Starting(
                    CapsuleAdmissions(
                        store,
                        keyring,
                        library,
                        profiles=profiles,
                        image=settings.sandbox_image,
                        forecasting=forecasting,
                    )
                ),
                bookkeeping=Bookkeeping(PostgresRuns(store), PostgresDecisions(store, tokens)),
                constituting=Constituting(office),
                sandbox=sandbox,
            )
