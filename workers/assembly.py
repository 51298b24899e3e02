"""The composition root of a worker process: opens every adapter once and closes it at the end."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from activities.bookkeeping import Bookkeeping
from activities.publishing import Publishing
from activities.remembering import Remembering
from activities.roster import GOVERNED, PLATFORM
from activities.starting import Starting
from activities.thinking import Thinking
from activities.tools import Tools
from capsules.records import ConstitutionRecord
from policy.gate import Gate
from policy.interceptor import PolicyInterceptor, governs
from policy.source import Policies, verified
from sandbox.container import DockerSandbox
from somagent.admission import CapsuleAdmissions
from somagent.bus.streams import Bus
from somagent.bus.tokens import ValkeyTokens
from somagent.content.artifacts import PostgresArtifacts
from somagent.content.postgres import PostgresContent
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import verify_constitution
from somagent.identity.tokens import Tokens
from somagent.library import Library
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.settings import Settings
from somagent.slm.client import PydanticAiModel
from somagent.slm.profiles import Profiles
from somagent.store.closing import PostgresRuns
from somagent.store.database import Store, open_store
from somagent.store.decisions import PostgresDecisions
from somagent.store.ledger import PostgresLedger
from somagent.temporal.client import connect


@dataclass(frozen=True)
class Assembly:
    """What a worker process works with."""

    client: Client
    interceptor: PolicyInterceptor
    store: Store
    settings: Settings
    thinking: Thinking
    remembering: Remembering
    tools: Tools
    publishing: Publishing
    starting: Starting
    bookkeeping: Bookkeeping
    sandbox: DockerSandbox


def signed_by(keyring: KeyRing) -> Callable[[ConstitutionRecord], bool]:
    """Return the check that a record carries a valid signature of this installation's constitution key."""

    def check(record: ConstitutionRecord) -> bool:
        verify_constitution(keyring, record)
        return True

    return check


@asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Assembly]:
    """Open everything. Raises ConstitutionRefused when the active constitution is unsigned or altered."""
    keyring = KeyRing.load(settings.keys_dir)
    tokens = Tokens(keyring)
    library = Library.load()
    async with open_store(settings.database("app")) as store:
        active = await store.constitutions.active()
        verified(active, active.digest, signed_by(keyring))
        content = PostgresContent(store)
        profiles = Profiles.from_settings(settings)
        embedder = MiniLmEmbedder()
        sandbox = DockerSandbox(
            image=settings.sandbox_image,
            host=settings.docker_host,
            runtime=settings.sandbox_runtime,
            scope=settings.container_scope,
        )
        gate = Gate(
            tokens, Policies(store.constitutions.get, signed_by(keyring)), PostgresLedger(store), clock=time.time
        )
        async with Bus(settings.redis_target()) as bus, PydanticAiModel(profiles) as models:
            yield Assembly(
                client=await connect(settings, keyring),
                interceptor=PolicyInterceptor(gate, governed=governs(*GOVERNED), platform=PLATFORM),
                store=store,
                settings=settings,
                thinking=Thinking(models, content, ValkeyTokens(bus)),
                remembering=Remembering(embedder, PostgresMemories(store, embedder)),
                tools=Tools(sandbox, content, image=settings.sandbox_image),
                publishing=Publishing(content, PostgresArtifacts(store)),
                starting=Starting(
                    CapsuleAdmissions(store, keyring, library, profiles=profiles, image=settings.sandbox_image)
                ),
                bookkeeping=Bookkeeping(PostgresRuns(store), PostgresDecisions(store, tokens)),
                sandbox=sandbox,
            )
