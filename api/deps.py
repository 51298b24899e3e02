"""State of the API process: the adapters that endpoints use."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from temporalio.client import Client

from api.authentication import Identities
from api.middleware.metrics import Metrics
from api.middleware.request_rates import RequestRates
from api.proof_of_possession import SenderBinding
from api.proof_pool import ExplanationPool, ProofPool
from capsules.digest import ContentStore
from policy.decide.constitution_cache import ConstitutionCache
from policy.forecasts.forecaster import learn
from policy.gate import Gate
from somagent.capsule_files.library import Library
from somagent.content.postgres import PostgresContent
from somagent.db.database import Database, open_database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.db.gate.ledger import PostgresLedger
from somagent.forecasts.run_forecasts import ForecasterCache, LearnedForecasts
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import ConstitutionTrust
from somagent.identity.tokens import Tokens
from somagent.messaging.event_bus import EventBus
from somagent.models.profiles import Profiles
from somagent.settings import Settings
from somagent.temporal.client import connect


@dataclass(frozen=True, kw_only=True)
class State:
    """The adapters behind the API. `gate` only evaluates here: it executes no action."""

    settings: Settings
    db: Database
    temporal: Client
    bus: EventBus
    content: ContentStore
    keyring: KeyRing
    tokens: Tokens
    identities: Identities
    senders: SenderBinding
    approval_decisions: PostgresApprovalDecisions
    library: Library
    trust: ConstitutionTrust
    policies: ConstitutionCache
    rates: RequestRates
    gate: Gate
    forecasts: LearnedForecasts
    explanations: ExplanationPool
    proofs: ProofPool
    metrics: Metrics


@contextlib.asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """Connect the adapters, and close them at the end. Raises Unavailable that names a server that does not answer."""
    keyring = KeyRing.load(settings.keys_dir)
    trust = ConstitutionTrust(settings.keys_dir, settings.constitution_signatures)
    async with contextlib.AsyncExitStack() as stack:
        db = await stack.enter_async_context(open_database(settings.database("app"), keys=keyring))
        rates = await stack.enter_async_context(
            contextlib.aclosing(RequestRates(settings.redis_target(), per_minute=settings.rate_limit_per_minute))
        )
        metrics = Metrics()
        policies, tokens = ConstitutionCache(db.constitutions.get, trust), Tokens(keyring)
        profiles = Profiles.from_settings(settings)
        forecasts = LearnedForecasts(db, ForecasterCache(db, learn), profiles)
        yield State(
            settings=settings,
            db=db,
            temporal=await connect(settings, keyring, unbound=(await db.read_cut_over()).workflows),
            bus=await stack.enter_async_context(EventBus(settings.redis_target())),
            content=PostgresContent(db),
            keyring=keyring,
            tokens=tokens,
            identities=Identities(db, tokens),
            senders=SenderBinding(settings, rates.valkey),
            approval_decisions=PostgresApprovalDecisions(db, tokens),
            library=Library.load(),
            trust=trust,
            policies=policies,
            gate=Gate(tokens, policies, PostgresLedger(db), clock=time.time, forecaster=forecasts),
            rates=rates,
            forecasts=forecasts,
            explanations=ExplanationPool(ProofPool("explanations", at_once=1, patience=5.0, metrics=metrics)),
            proofs=ProofPool("proofs", at_once=2, patience=2.0, metrics=metrics),
            metrics=metrics,
        )


def _state(request: Request) -> State:
    state: State = request.app.state.somagent
    return state


StateDep = Annotated[State, Depends(_state)]
