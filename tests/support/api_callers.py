"""Callers of the API in tests: real tokens of a tenant, and a capsule that they publish."""

import asyncio
import dataclasses
import datetime as dt
import threading
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Self

import httpx

from capsules.identity.principal import Principal
from somagent.db.database import Database, open_database
from somagent.identity.capabilities import CAPABILITIES
from somagent.identity.tokens import AccessClaims, Tokens

HELLO: dict[str, Any] = {
    "apiVersion": "somagent/v1",
    "kind": "Capsule",
    "metadata": {"name": "hello", "version": "1.0.0", "summary": "Count the words of a text."},
    "spec": {
        "type": "utility",
        "intent": "Count the words of a text.",
        "inputs": {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {"text": {"type": "string", "minLength": 1}, "times": {"type": "integer", "minimum": 1}},
        },
        "tools": [{"use": "python@1", "actions": ["run"]}],
        "guardrails": {"max_steps": 2},
        "budget": {"tokens": 0, "tool_calls": 2},
        "steps": [
            {
                "id": "count",
                "use": "python/run",
                "with": {
                    "code": "import json\nprint(len(json.load(open('input.json'))))",
                    "input": "${{ inputs.text }}",
                },
            }
        ],
    },
}


REGISTRY = "registry"
"""Actor of the audit entries about the callers of tests."""


class Registry:
    """Adds principals and token families for callers, at once: it has a thread with a loop of its own.

    A principal has what its tokens claimed so far. A token for more comes from a new family, so that no answer about an
    older one is in the API's cache.
    """

    def __init__(self, database_url: str, tokens: Tokens) -> None:
        self.tokens = tokens
        self._url = database_url
        self._known: dict[tuple[str, str], tuple[frozenset[str], str]] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def family(self, principal: Principal) -> str:
        """Return a family of a principal who has at least these capabilities."""
        key = principal.tenant, principal.subject
        held, family = self._known.get(key, (frozenset(), ""))
        if not family or not principal.capabilities <= held:
            wanted = principal.model_copy(update={"capabilities": principal.capabilities | held})
            family = asyncio.run_coroutine_threadsafe(self._register(wanted), self._loop).result(30)
            self._known[key] = wanted.capabilities, family
        return family

    async def _register(self, principal: Principal) -> str:
        async with open_database(self._url, connections=1) as db:
            return await open_family(db, self.tokens, principal)


async def open_family(db: Database, tokens: Tokens, principal: Principal) -> str:
    """Add a principal, with what it has already, and open a token family for it."""
    family, ends = uuid.uuid4().hex, dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    async with db.transaction(principal.tenant) as tx:
        await tx.audit.set_actor(REGISTRY)
        there = await tx.principals.find(principal.subject)
        held = principal.capabilities | (there.capabilities if there else frozenset())
        await tx.principals.add(principal.model_copy(update={"capabilities": held}), sign=tokens.sign_record)
        await tx.token_families.open(family, principal.subject, client="test", expires_at=ends)
    return family


@dataclass(frozen=True)
class SignedIn(httpx.Auth):
    """Sends a new access token of a family with each request, so that a long test never holds an old one."""

    tokens: Tokens
    claims: AccessClaims

    @classmethod
    async def open(cls, db: Database, tokens: Tokens, principal: Principal) -> Self:
        family = await open_family(db, tokens, principal)
        held = principal.capabilities
        return cls(
            tokens,
            AccessClaims(tenant=principal.tenant, subject=principal.subject, capabilities=held, family=family),
        )

    def token(self) -> str:
        return self.tokens.mint_access(self.claims, 600)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        yield request


@dataclass(frozen=True)
class Callers:
    """Headers of people of one tenant, who become principals of it."""

    registry: Registry
    tenant: str

    def with_(self, *capabilities: str, subject: str = "ana", seconds: int = 600) -> dict[str, str]:
        principal = Principal(tenant=self.tenant, subject=subject, capabilities=frozenset(capabilities))
        claims = AccessClaims(**principal.model_dump(), family=self.registry.family(principal))
        return {"Authorization": f"Bearer {self.registry.tokens.mint_access(claims, seconds)}"}

    def all(self, subject: str = "ana") -> dict[str, str]:
        return self.with_(*CAPABILITIES, subject=subject)

    def without(self, capability: str) -> dict[str, str]:
        return self.with_(*(c for c in CAPABILITIES if c != capability))

    def of(self, tenant: str) -> Self:
        """Return the callers of another tenant."""
        return dataclasses.replace(self, tenant=tenant)


async def publish(http: httpx.AsyncClient, callers: Callers, capsule: dict[str, Any] = HELLO) -> dict[str, Any]:
    """Publish a capsule and return the answer."""
    answer = await http.post("/v1/capsules", json=capsule, headers=callers.all())
    assert answer.status_code == 201, answer.text
    published: dict[str, Any] = answer.json()
    return published


def assert_problem(answer: httpx.Response, status: int, code: str, *named: str) -> dict[str, Any]:
    """Check that an answer is a problem document that names what is wrong; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:somagent:problem:{code}"
    for text in named:
        assert text in answer.text, f"{text!r} is not named in {answer.text}"
    return problem
