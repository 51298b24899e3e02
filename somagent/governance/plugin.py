"""Temporal plugin of a governed application, for its client, its workers and its replayer.

    async with governance(settings, terms) as plugin:
        client = await Client.connect("…", plugins=[plugin])
        async with Worker(client, task_queue="…", workflows=[…], activities=[…]): …

`governance` is the composition root of such a process: it reads the keys, opens the database and closes it at the end.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client, OutboundInterceptor
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    Worker,
    WorkerConfig,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowRunner,
)
from temporalio.worker import Interceptor as WorkerInterceptor
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from capsules.governance.application import Terms
from capsules.governance.governed import marker_of
from policy.decide.constitution_cache import ConstitutionCache
from policy.gate import Gate
from somagent.budgets.rate_windows import ValkeyWindows
from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.governance.application_run_reconciler import ApplicationRunReconciler
from somagent.governance.authority_propagation import propagating_interceptor
from somagent.governance.client_interceptor import StartInterceptor, StartTokens
from somagent.governance.enrolment import Enrolments
from somagent.governance.governed_interceptor import GovernedActivityInterceptor
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import ConstitutionTrust
from somagent.identity.tokens import Tokens
from somagent.settings import Settings
from somagent.temporal.client import PURE_LIBRARIES, data_converter
from somagent.temporal.codec import EncryptionCodec

log = structlog.get_logger(__name__)

# Passed through to the workflow sandbox: an interceptor reads the context variable that `execute_with_approval` sets.
PASSED_THROUGH = ("capsules", "somagent.governance", *PURE_LIBRARIES)


class GovernanceInterceptor(ClientInterceptor, WorkerInterceptor):
    """The interceptors of client and worker, as one object, so that there is one gate before an activity.

    1. The client adds an encrypted authority to each start.
    2. The workflow passes it on to activities, child workflows and continue-as-new.
    3. Before each activity the authority is decrypted, the run is enrolled and the gate evaluates the action.
    """

    def __init__(self, gate: Gate, start_tokens: StartTokens, enrolments: Enrolments, *, bound: bool) -> None:
        self._gate = gate
        self._start_tokens = start_tokens
        self._enrolments = enrolments
        self._bound = bound
        self.clients: dict[str, Client] = {}

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return StartInterceptor(super().intercept_client(next), self._start_tokens)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return GovernedActivityInterceptor(
            next, self._gate, start_tokens=self._start_tokens, enrolments=self._enrolments, clients=self.clients
        )

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002, ARG002
        return propagating_interceptor(self._enrolments.terms.platform, bound=self._bound)


class GovernancePlugin(SimplePlugin):
    """The plugin that `governance` yields. A client's workers use it too. Given to both, it is applied once."""

    def __init__(
        self, interceptor: GovernanceInterceptor, terms: Terms, db: Database, *, converter: DataConverter | None
    ) -> None:
        super().__init__(
            "somagent-governance",
            interceptors=[interceptor],
            data_converter=converter,
            workflow_runner=_with_passthrough,
        )
        self._interceptor = interceptor
        self._terms = terms
        self._db = db

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Put the gate before the worker's activities, once, and log which of them it will refuse."""
        client = config["client"]
        self._interceptor.clients[client.namespace] = client
        if self._interceptor in (config.get("interceptors") or ()):
            return config  # the client has given it to the worker already
        unmarked = [
            name
            for each in config.get("activities") or ()
            if marker_of(each) is None and (name := _activity_type(each)) not in self._terms.platform
        ]
        if unmarked:
            log.warning("activities.not_governed", application=self._terms.application.ref, refused=sorted(unmarked))
        return super().configure_worker(config)

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002
        """Run the worker, and meanwhile close the runs whose workflows have ended."""
        reconciler = ApplicationRunReconciler(self._terms.application, self._db, worker.client)
        reconciling = asyncio.create_task(reconciler.run())
        try:
            await super().run_worker(worker, next)
        finally:
            reconciling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reconciling


@contextlib.asynccontextmanager
async def governance(settings: Settings, terms: Terms, *, encrypt: bool = False) -> AsyncIterator[GovernancePlugin]:
    """Yield the plugin for one application.

    settings: paths of the keys and address of the database. No connection is made before the first action, except that
        `encrypt` reads which workflows are older than the binding of payloads.
    encrypt: also use our pydantic converter and encrypt every payload, in place of the application's own converter.
    """
    keyring = KeyRing.load(settings.keys_dir)
    tokens = Tokens(keyring)
    async with (
        open_database(settings.database("app"), keys=keyring) as db,
        ValkeyWindows(settings.redis_target(), db) as windows,
    ):
        ledger = PostgresLedger(db)
        trust = ConstitutionTrust(settings.keys_dir, settings.constitution_signatures)
        gate = Gate(tokens, ConstitutionCache(db.constitutions.get, trust), ledger, clock=time.time, windows=windows)
        start_tokens = StartTokens(terms, tokens, EncryptionCodec(keyring.codec))
        interceptor = GovernanceInterceptor(gate, start_tokens, Enrolments(terms, db, ledger, tokens), bound=encrypt)
        converter = None
        if encrypt:
            converter = data_converter(keyring, unbound=(await db.read_cut_over()).workflows)
        yield GovernancePlugin(interceptor, terms, db, converter=converter)


def _with_passthrough(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Return the application's runner; if it is a sandbox, with our modules passed through."""
    if runner is None:
        runner = SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules(*PASSED_THROUGH))


def _activity_type(function: Callable[..., Any]) -> str:
    definition = activity._Definition.from_callable(function)  # noqa: SLF001 - the SDK has no public function for the name
    return str(definition.name if definition and definition.name else function)
