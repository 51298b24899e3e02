"""What the endpoints call: one frozen object, composed once by `open_state` and handed to `create_app`."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from temporalio.client import Client

from api.metrics import Metrics
from api.rates import Rates
from capsules.ports import ContentStore
from capsules.records import ConstitutionRecord
from policy.source import Policies
from somagent.bus.streams import Bus
from somagent.content.postgres import PostgresContent
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.library import Library
from somagent.settings import Settings
from somagent.store.database import Store, open_store
from somagent.temporal.client import connect


@dataclass(frozen=True, kw_only=True)
class State:
    """The parts behind the API."""

    settings: Settings
    store: Store
    temporal: Client
    bus: Bus
    content: ContentStore
    keyring: KeyRing
    tokens: Tokens
    library: Library
    policies: Policies
    rates: Rates
    metrics: Metrics = field(default_factory=Metrics)


@contextlib.asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """Connect everything; close it at the end. Fails with the part's name when one cannot be reached."""
    keyring = KeyRing.load(settings.keys_dir)
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.database("app")))
        rates = await stack.enter_async_context(
            contextlib.aclosing(Rates(settings.redis_target(), per_minute=settings.rate_limit_per_minute))
        )
        yield State(
            settings=settings,
            store=store,
            temporal=await connect(settings, keyring),
            bus=await stack.enter_async_context(Bus(settings.redis_target())),
            content=PostgresContent(store),
            keyring=keyring,
            tokens=Tokens(keyring),
            library=Library.load(),
            policies=Policies(store.constitutions.get, lambda record: _signed(keyring, record)),
            rates=rates,
        )


def _signed(keyring: KeyRing, record: ConstitutionRecord) -> bool:
    return keyring.verify("constitution", record.key_id, record.digest.encode("ascii"), record.signature)


def _state(request: Request) -> State:
    state: State = request.app.state.soma
    return state


Soma = Annotated[State, Depends(_state)]
