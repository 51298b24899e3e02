"""Composition root of a worker process: opens every adapter once and closes it at the end."""

import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from temporalio.client import Client

from activities.admission import AdmissionActivities
from activities.approvals import ApprovalActivities
from activities.artifacts import ArtifactActivities
from activities.constitution_activation import ConstitutionActivities
from activities.memory import MemoryActivities
from activities.model_calls import ModelActivities
from activities.registry import GOVERNED, LOCKED, PLATFORM
from activities.run_state import RunStateActivities
from activities.tools import ToolActivities
from capsules.errors import ConstitutionRefused
from capsules.tools.tool import Sandbox, ToolExecutor
from policy.activity_authority import ActivityAuthority
from policy.decide.constitution_cache import ConstitutionCache, compile_record
from policy.forecasts.forecaster import learn
from policy.gate import Gate
from policy.interceptor import PolicyInterceptor, governed_types
from sandbox.container import DockerSandbox
from sandbox.executor import ContainerExecutor
from somagent.budgets.rate_windows import ValkeyWindows
from somagent.capsule_files.library import Library
from somagent.content.postgres import PostgresArtifacts, PostgresContent
from somagent.db.database import Database, open_database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.locks import PostgresLocks
from somagent.db.gate.run_projection import PostgresRuns
from somagent.forecasts.run_forecasts import ForecasterCache, LearnedForecasts
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import ConstitutionTrust
from somagent.identity.tokens import Tokens
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.messaging.event_bus import EventBus, ValkeyTokens
from somagent.models.profiles import Profiles
from somagent.runs.admission import CapsuleAdmissions
from somagent.runs.start_claims import PostgresStartClaims
from somagent.settings import Settings
from somagent.temporal.client import connect
from workers.constitutions.activation_service import activation_service
from workers.metrics import GateMetrics
from workflows.options import CAPSULES, QUEUES, SLM

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Assembly:
    """The activities of a worker process, with its client, gate, metrics, database and sandbox."""

    client: Client
    interceptor: PolicyInterceptor
    metrics: GateMetrics
    db: Database
    settings: Settings
    models: ModelActivities | None
    """None where no queue that calls models is served."""
    memory: MemoryActivities
    tools: ToolActivities
    artifacts: ArtifactActivities
    admission: AdmissionActivities
    run_state: RunStateActivities
    approvals: ApprovalActivities
    constitutions: ConstitutionActivities
    sandbox: DockerSandbox


def tool_executors(settings: Settings, sandbox: Sandbox) -> Mapping[str, ToolExecutor]:
    """Return the executor of each kind of tool: every kind in `capsules.tools.tool.TOOL_KINDS` and no other."""
    return {"container": ContainerExecutor(sandbox, image=settings.sandbox_image)}


async def _check_constitution(db: Database, trust: ConstitutionTrust) -> None:
    """Raise ConstitutionRefused when no constitution is active.

    When the active one is revoked, or its signatures do not suffice, the worker starts all the same: the gate denies
    everything, and only a running worker can activate another one.
    """
    found = await db.constitutions.active_digest()
    if found is None:
        raise ConstitutionRefused("No constitution is active, so nothing may run. `somagent up` installs one.")
    active = await db.constitutions.get(found)
    try:
        compile_record(active, found, trust)
    except ConstitutionRefused as error:
        log.warning("constitution.not_in_force", problem=error.message)


@asynccontextmanager
async def assemble(settings: Settings, serving: Collection[str] = QUEUES) -> AsyncIterator[Assembly]:
    """Open what the activities of the queues in `serving` need.

    Raises ConstitutionRefused when the active constitution was altered, or none is active.
    """
    keyring = KeyRing.load(settings.keys_dir)
    tokens = Tokens(keyring)
    library = Library.load()
    trust = ConstitutionTrust(settings.keys_dir, settings.constitution_signatures)
    async with open_database(settings.database("app"), keys=keyring) as db:
        await _check_constitution(db, trust)
        cut_over = await db.read_cut_over()
        content = PostgresContent(db)
        profiles = Profiles.from_settings(settings)
        embedder = MiniLmEmbedder()
        sandbox = DockerSandbox(
            image=settings.sandbox_image,
            host=settings.docker_host,
            runtime=settings.sandbox_runtime,
            profiles=settings.sandbox_profiles,
            scope=settings.container_scope,
        )
        metrics = GateMetrics()
        policies = ConstitutionCache(db.constitutions.get, trust)
        async with (
            EventBus(settings.redis_target()) as bus,
            ValkeyWindows(settings.redis_target(), db) as windows,
            activation_service(settings, db, tokens, trust, proved=metrics.count_proof) as activations,
            AsyncExitStack() as stack,
        ):
            forecasters, locks = ForecasterCache(db, learn), PostgresLocks(db)
            client = await connect(settings, keyring, unbound=cut_over.workflows)
            gate = Gate(
                tokens,
                policies,
                PostgresLedger(db),
                clock=time.time,
                metrics=metrics.count_decision,
                windows=windows,
                forecaster=LearnedForecasts(db, forecasters, profiles),
                locks=locks,
                starts=PostgresStartClaims(db, client, CAPSULES),
            )
            yield Assembly(
                client=client,
                interceptor=PolicyInterceptor(
                    gate,
                    ActivityAuthority(tokens, cut_over),
                    governed=governed_types(*GOVERNED),
                    platform=PLATFORM,
                    locked=LOCKED,
                ),
                metrics=metrics,
                db=db,
                settings=settings,
                models=await _open_models(stack, profiles, content, bus) if SLM in serving else None,
                memory=MemoryActivities(embedder, PostgresMemories(db, embedder)),
                tools=ToolActivities(tool_executors(settings, sandbox), content),
                artifacts=ArtifactActivities(PostgresArtifacts(db)),
                admission=AdmissionActivities(
                    CapsuleAdmissions(
                        db,
                        keyring,
                        library,
                        profiles=profiles,
                        image=settings.sandbox_image,
                        forecasters=forecasters,
                    )
                ),
                run_state=RunStateActivities(PostgresRuns(db), locks),
                approvals=ApprovalActivities(PostgresApprovalDecisions(db, tokens), locks),
                constitutions=ConstitutionActivities(activations),
                sandbox=sandbox,
            )


async def _open_models(
    stack: AsyncExitStack, profiles: Profiles, content: PostgresContent, bus: EventBus
) -> ModelActivities:
    # Its libraries cost half of a worker's start and memory, so that a worker of tools does not import them.
    from somagent.models.client import PydanticAiModel  # noqa: PLC0415

    return ModelActivities(await stack.enter_async_context(PydanticAiModel(profiles)), content, ValkeyTokens(bus))
