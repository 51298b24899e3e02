"""Tenants of an installation: adding them with a credit, an operator and an approver, their limits and their usage."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from capsules.budgets.account import Account, AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.budgets.usage_report import DayRange, Usage, UsageGroup
from capsules.errors import Invalid, NotFound
from somagent.capsule_files.library import Library
from somagent.db.database import open_database
from somagent.db.transaction import Transaction
from somagent.identity.capabilities import local_principals
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.local_stack.bootstrap import publish_shipped
from somagent.settings import Settings

TEST_DRIVE = Amounts(tokens=200_000, micro_usd=1_000_000, tool_calls=500)
"""Default credit of a new tenant, which it can spend once."""


@dataclass(frozen=True)
class NewTenant:
    account: Account
    tokens: dict[str, str]
    """Access tokens by subject. They are stored nowhere."""


async def add_tenant(
    settings: Settings, tenant: str, *, terms: AccountTerms, credit: Amounts, token_seconds: int
) -> NewTenant:
    """Add a tenant with its account, an operator, an approver and the shipped capsules.

    For an existing tenant only new tokens are minted. Raises Invalid for an invalid name.
    """
    keyring = KeyRing.load(settings.keys_dir)
    people = local_principals(tenant)
    async with open_database(settings.database("owner"), connections=2) as owner:
        await owner.tenants.add(tenant)
    async with open_database(settings.database("app"), connections=2) as db, db.transaction(tenant) as tx:
        try:
            account = await tx.accounts.get(f"tenant:{tenant}")
        except NotFound:
            await tx.accounts.allow(f"tenant:{tenant}", None, terms, by="owner")
            account = await tx.accounts.give_credit(f"tenant:{tenant}", credit, key="test-drive", by="owner")
        known = {one.subject for one in await tx.principals.list()}
        for person in people:
            if person.subject not in known:
                await tx.principals.add(person)
        await publish_shipped(tx, keyring, Library.load())
    tokens = Tokens(keyring)
    return NewTenant(account, {one.subject: tokens.mint_access(one, token_seconds) for one in people})


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
