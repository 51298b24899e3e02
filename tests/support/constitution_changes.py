"""Constitution changes on a started stack, as people make them: over the API, with real signatures."""

import asyncio
import copy
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
from platforms import Platform

from capsules.digest import digest
from capsules.names import version_key
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest

SETTLED = {"activated", "refused", "rejected", "expired"}

NAP = """
apiVersion: somagent/v1
kind: Capsule
metadata: {name: two-naps, version: 1.0.0, summary: Sleeps twice.}
spec:
  type: atomic
  intent: Sleep.
  inputs: {type: object}
  deliverable: {schema: {}}
  tools: [{use: python@1, actions: [run]}]
  guardrails: {max_steps: 2}
  budget: {tool_calls: 2, wall_clock: 2m}
  steps:
    - {id: first, use: python/run, with: {code: "import time; time.sleep(4); print('{}')"}}
    - {id: second, use: python/run, with: {code: "print('{}')"}}
"""


@dataclass
class ConstitutionChanges:
    """The operator proposes, the approver answers."""

    stack: Platform
    keyring: KeyRing

    def signed(self, document: dict[str, Any]) -> list[dict[str, str]]:
        made = sign_digest(self.keyring, "constitution", digest(document))
        return [{"key_id": made.key_id, "signature": made.value}]

    async def propose(
        self, document: dict[str, Any] | None = None, *, status: int = 202, **rest: Any
    ) -> dict[str, Any]:
        body: dict[str, Any] = dict(rest)
        if document is not None:
            body = {"document": document, "signatures": self.signed(document)} | body
        return await self.ask("", body, status=status)

    async def ask(self, what: str, body: dict[str, Any], *, status: int = 202) -> dict[str, Any]:
        answer = await self.stack.operator.post(f"/v1/constitutions{what}", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def activation(self, id_: str) -> dict[str, Any]:
        answer = await self.stack.operator.get(f"/v1/constitutions/activations/{id_}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def until(self, proposed: dict[str, Any], *states: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a proposal is in one of the states, or settled, and return it."""
        deadline = time.monotonic() + seconds
        while True:
            shown = await self.activation(proposed["id"])
            if shown["state"] in states or shown["state"] in SETTLED:
                return shown
            assert time.monotonic() < deadline, f"{shown['id']} is {shown['state']} after {seconds} s"
            await asyncio.sleep(0.05)

    async def answer(self, proposed: dict[str, Any], word: str, **body: Any) -> httpx.Response:
        path = f"/v1/constitutions/activations/{proposed['id']}/{word}"
        return await self.stack.approver.post(path, json=body)

    async def approved(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """See it come to approval, approve it and see it active."""
        waiting = await self.until(proposed, "awaiting_approval")
        assert waiting["state"] == "awaiting_approval", waiting["why"]
        said = await self.answer(proposed, "approve", comment="Looks right.")
        assert said.status_code == 200, said.text
        done = await self.until(proposed)
        assert done["state"] == "activated", done["why"]
        return done

    async def activate(self, document: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return await self.approved(await self.propose(document, **rest))

    async def active(self) -> str:
        shown = (await self.stack.operator.get("/v1/constitution")).json()
        return str(shown["digest"])

    async def next(self, **changes: Any) -> dict[str, Any]:
        """Return the active document with a version above every installed one, and other members."""
        document = copy.deepcopy((await self.stack.operator.get("/v1/constitution")).json()["document"])
        known = (await self.stack.operator.get("/v1/constitutions")).json()["items"]
        newest = max((version_key(one["version"])[0] for one in known), default=(1, 0, 0))
        document["metadata"] = {**document["metadata"], "version": f"{newest[0]}.{newest[1]}.{newest[2] + 1}"}
        document["metadata"].pop("overlays", None)
        return document | changes


def unique_name(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:8]}"
