"""Tenants of an installation: adding them with a credit, an operator and an approver, their limits and their usage."""

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from capsules.budgets.account import Account, AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.budgets.usage_report import DayRange, Usage, UsageGroup
from capsules.errors import Invalid, NotFound
from capsules.identity.records import ApiKeyClaims
from somagent.capsule_files.library import Library
from somagent.db.database import open_database
from somagent.db.transaction import Transaction
from somagent.identity.api_keys import new_key
from somagent.identity.capabilities import local_principals
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.local_stack.bootstrap import publish_shipped, sign_old_records
from somagent.settings import Settings

OWNER = "owner"
TEST_DRIVE = Amounts(tokens=200_000, micro_usd=1_000_000, tool_calls=500)
"""Default credit of a new tenant, which it can spend once."""


@dataclass(frozen=True)
class NewTenant:
    account: Account
    tokens: dict[str, str]
    """API keys by subject, of those who are new. They are stored nowhere."""


async def add_tenant(settings: Settings, tenant: str, *, terms: AccountTerms, credit: Amounts, days: int) -> NewTenant:
    """Add a tenant with its account, an operator, an approver and the shipped capsules.

    days: how long their API keys are valid. Idempotent: what exists stays, and who exists gets no second key. Raises
    Invalid for an invalid name.
    """
    keyring = KeyRing.load(settings.keys_dir)
    tokens, keys = Tokens(keyring), {}
    async with open_database(settings.database("owner"), connections=2) as owner:
        await owner.tenants.add(tenant)
    async with open_database(settings.database("app"), connections=2) as db, db.transaction(tenant) as tx:
        try:
            account = await tx.accounts.get(f"tenant:{tenant}")
        except NotFound:
            await tx.accounts.allow(f"tenant:{tenant}", None, terms, by="owner")
            account = await tx.accounts.give_credit(f"tenant:{tenant}", credit, key="test-drive", by="owner")
        await tx.audit.set_actor(OWNER)
        await sign_old_records(tx, tokens)
        for person in local_principals(tenant):
            if await tx.principals.find(person.subject) is None:
                await tx.principals.add(person, sign=tokens.sign_record)
                keys[person.subject] = await _issue_key(tx, tokens, person.subject, days)
        await publish_shipped(tx, keyring, Library.load())
    return NewTenant(account, keys)


async def rotate_tenant(settings: Settings, tenant: str, *, days: int) -> dict[str, str]:
    """Revoke every key and token of a tenant, and return new API keys of its operator and its approver.

    Raises NotFound, or Conflict when one of the two is suspended or revoked.
    """
    tokens = Tokens(KeyRing.load(settings.keys_dir))
    async with _open_tenant(settings, tenant) as tx:
        await tx.audit.set_actor(OWNER)
        await tx.token_families.end_all(None, by=OWNER, reason="tenant rotated")
        people = local_principals(tenant)
        return {one.subject: await _issue_key(tx, tokens, one.subject, days) for one in people}


async def _issue_key(tx: Transaction, tokens: Tokens, subject: str, days: int) -> str:
    key, ends = new_key(tx.tenant), int(time.time()) + days * 86_400
    claims = ApiKeyClaims(tenant=tx.tenant, id=key.id, hash=key.hash, subject=subject, expires_at=ends)
    await tx.api_keys.add(claims, proof=tokens.sign_record(claims))
    return key.text


async def allow_tenant(settings: Settings, tenant: str, terms: AccountTerms) -> Account:
    """Set the terms of a tenant's account. Raises NotFound."""
    async with _open_tenant(settings, tenant) as tx:
        return await tx.accounts.allow(f"tenant:{tenant}", None, terms, by="owner")


async def credit_tenant(settings: Settings, tenant: str, amounts: Amounts, key: str) -> Account:
    """Give a tenant credit, once for each key. Raises NotFound, or Invalid for amounts of zero."""
    if amounts == Amounts():
        raise Invalid("Credit of nothing changes nothing.")
    async with _open_tenant(settings, tenant) as tx:
        return await tx.accounts.give_credit(f"tenant:{tenant}", amounts, key=key, by="owner")


async def tenants_of(settings: Settings) -> tuple[str, ...]:
    """Return every tenant's name."""
    async with open_database(settings.database("app"), connections=1) as db:
        return await db.tenants.list()


async def usage_of(settings: Settings, by: Collection[UsageGroup], days: DayRange) -> tuple[Usage, ...]:
    """Return the usage of all tenants, one tenant after another."""
    begins, ends = days.moments()
    found: list[Usage] = []
    async with open_database(settings.database("app"), connections=1) as db:
        for tenant in await db.tenants.list():
            async with db.transaction(tenant) as tx:
                found += await tx.usage.report(by, since=begins, until=ends)
    return tuple(found)


@asynccontextmanager
async def _open_tenant(settings: Settings, tenant: str) -> AsyncIterator[Transaction]:
    """Open a transaction of an existing tenant. Raises NotFound for another."""
    async with open_database(settings.database("app"), connections=2) as db:
        if not await db.tenants.exists(tenant):
            raise NotFound(f"There is no tenant {tenant!r}.", tenant=tenant)
        async with db.transaction(tenant) as tx:
            yield tx
