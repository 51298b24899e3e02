"""A tenant of its own on a started platform, with groups of approvers, and rules that ask several of them."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from api_callers import SignedIn
from constitutions import activate_document, default, key_ring
from platforms import Platform

from capsules.budgets.amounts import Amounts
from capsules.identity.principal import Principal
from somagent.db.database import open_database
from somagent.identity.capabilities import OPERATOR
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens

SEES = {"approval:read", "run:read"}
RICH = Amounts(tokens=10_000_000, micro_usd=100_000_000, tool_calls=10_000)


@dataclass(frozen=True)
class ApproverGroups:
    """Each person of the tenant as a client of the API, by name; and the platform as one who asks sees it."""

    platform: Platform
    tenant: str
    signed_in: Mapping[str, SignedIn]
    people: Mapping[str, httpx.AsyncClient]

    def asking_as(self, name: str) -> Platform:
        return dataclasses.replace(self.platform, operator=self.people[name])

    async def say(self, name: str, approval: str, what: str = "approve", **body: Any) -> httpx.Response:
        return await self.people[name].post(f"/v1/approvals/{approval}/{what}", json=body)

    async def show(self, name: str, approval: str) -> dict[str, Any]:
        answer = await self.people[name].get(f"/v1/approvals/{approval}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


@asynccontextmanager
async def approver_groups_in(
    platform: Platform, tenant: str, *, askers: Mapping[str, dict[str, Any]], deciders: Mapping[str, set[str]]
) -> AsyncIterator[ApproverGroups]:
    """Make the tenant. Of each asker a rule asks about every use of a tool; each decider holds these capabilities."""
    settings = platform.settings
    keyring = KeyRing.load(settings.keys_dir)
    rules = [
        {
            "id": f"of-{name}",
            "ask_when": f"actor.subject == '{name}' && action.kind == 'tool.invoke'",
            "because": f"What {name} does is looked at.",
            **rule,
        }
        for name, rule in askers.items()
    ]
    people = dict.fromkeys(askers, OPERATOR) | {name: frozenset(SEES | held) for name, held in deciders.items()}
    async with open_database(settings.database("owner"), keys=key_ring(settings)) as owner:
        await owner.tenants.add(tenant)
        document = default()
        document["metadata"]["name"] = tenant
        document["approvals"] += [part for rule in rules for part in _each(rule)]
        await activate_document(owner, keyring, document, scope=tenant)
    issuer = Tokens(keyring)
    async with open_database(settings.database("app"), keys=key_ring(settings)) as db:
        async with db.transaction(tenant) as tx:
            await tx.accounts.ensure(f"tenant:{tenant}", RICH)
        signed_in = {
            name: await SignedIn.open(db, issuer, Principal(tenant=tenant, subject=name, capabilities=held))
            for name, held in people.items()
        }
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                httpx.AsyncClient(base_url=settings.api_base(), auth=auth, timeout=60)
            )
            for name, auth in signed_in.items()
        }
        seen = dataclasses.replace(
            platform, operator=clients[next(iter(askers))], approver=next(iter(clients.values()))
        )
        yield ApproverGroups(seen, tenant, signed_in, clients)


def _each(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one rule for each role: the demands of all rules that hold must be met."""
    roles = rule.pop("roles", None)
    if roles is None:
        return [rule]
    return [rule | {"id": f"{rule['id']}-{number}", **role} for number, role in enumerate(roles, start=1)]
