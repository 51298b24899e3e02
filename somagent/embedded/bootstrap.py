"""First start of an installation: keys, schema, tenant, principals, signed constitution, shipped capsules.

Every step may run again: it makes what is missing and leaves what is there.
"""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from capsules.amounts import Amounts
from capsules.digest import digest
from capsules.errors import ConstitutionRefused
from capsules.records import ConstitutionRecord
from somagent.identity.capabilities import local_principals
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest
from somagent.identity.tokens import Tokens
from somagent.library import Library
from somagent.settings import Settings
from somagent.store.database import Store, open_store
from somagent.store.migrate import upgrade

TENANT = "local"
TENANT_LIMIT = Amounts(tokens=50_000_000, micro_usd=100_000_000, tool_calls=1_000_000)
TOKEN_LIFE = timedelta(days=90)


async def bootstrap(settings: Settings) -> None:
    """Bring an installation to the state in which workers and API can start."""
    keyring = KeyRing.create_missing(settings.keys_dir)
    library = Library.load()
    await upgrade(settings.database("owner"))
    async with open_store(settings.database("owner"), connections=2) as owner:
        await owner.tenants.add(TENANT)
        await _install_constitution(owner, keyring, library)
    async with open_store(settings.database("app"), connections=2) as store:
        await _enter(store, keyring, library)
    _write_credentials(settings.credentials_file, Tokens(keyring))


async def _install_constitution(owner: Store, keyring: KeyRing, library: Library) -> None:
    """Sign and activate the shipped constitution, unless one is active already."""
    try:
        await owner.constitutions.active()
    except ConstitutionRefused:
        document = library.constitution
        signature = sign_digest(keyring, "constitution", digest(document))
        await owner.constitutions.install(
            ConstitutionRecord(
                digest=digest(document),
                name=document["metadata"]["name"],
                version=document["metadata"]["version"],
                document=document,
                signature=signature.value,
                key_id=signature.key_id,
                state="active",
                installed_at=datetime.now(UTC),
            )
        )


async def _enter(store: Store, keyring: KeyRing, library: Library) -> None:
    """Enter the principals, the tenant's account and the shipped capsules."""
    async with store.transaction(TENANT) as tx:
        await tx.accounts.ensure(f"tenant:{TENANT}", None, TENANT_LIMIT)
        known = {p.subject for p in await tx.principals.list()}
        for principal in local_principals(TENANT):
            if principal.subject not in known:
                await tx.principals.add(principal)
        for capsule in library.capsules:
            signature = sign_digest(keyring, "publisher", capsule.digest())
            await tx.capsules.publish(
                capsule, digest=capsule.digest(), signature=signature.value, key_id=signature.key_id, by="somagent"
            )


def _write_credentials(path: Path, tokens: Tokens) -> None:
    """Write a fresh token for each local principal, readable by the owner alone."""
    seconds = int(TOKEN_LIFE.total_seconds())
    written = {
        principal.subject: {"tenant": TENANT, "token": tokens.mint_access(principal, seconds)}
        for principal in local_principals(TENANT)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(written, file, indent=1)


if __name__ == "__main__":
    asyncio.run(bootstrap(Settings()))
