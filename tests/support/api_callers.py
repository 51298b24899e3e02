"""Callers of the API in tests: real tokens of a tenant, and a capsule that they publish."""

from dataclasses import dataclass
from typing import Any

import httpx

from capsules.identity.principal import Principal
from somagent.identity.capabilities import CAPABILITIES
from somagent.identity.tokens import Tokens

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


@dataclass(frozen=True)
class Callers:
    """Headers of people of one tenant."""

    tokens: Tokens
    tenant: str

    def with_(self, *capabilities: str, subject: str = "ana", seconds: int = 600) -> dict[str, str]:
        principal = Principal(tenant=self.tenant, subject=subject, capabilities=frozenset(capabilities))
        return {"Authorization": f"Bearer {self.tokens.mint_access(principal, seconds)}"}

    def all(self, subject: str = "ana") -> dict[str, str]:
        return self.with_(*CAPABILITIES, subject=subject)

    def without(self, capability: str) -> dict[str, str]:
        return self.with_(*(c for c in CAPABILITIES if c != capability))


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
