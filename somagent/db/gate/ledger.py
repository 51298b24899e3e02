"""Ledger of the gate: one call of one database function before an effect, one after it.

A receipt has two sources. Python passes the members that it knows as canonical JSON. The database adds those that only
it knows (the decision, the time, the approval) in canonical form and hashes the whole. So a chain that the database
wrote passes `capsules.audit.receipt.verify_chain`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from pydantic import BaseModel
from pydantic_core import to_json

from capsules.actions.ledger_messages import (
    AttemptKey,
    BeginEffect,
    EffectBegun,
    FinishEffect,
    HistoryAsked,
    LedgerFacts,
    Settled,
)
from capsules.approvals.approval import merged
from capsules.digest import Digest, canonical, sha256
from capsules.errors import ConstitutionRefused
from somagent.db.database import Database
from somagent.db.errors import translate_errors


class KeyedSemaphore:
    """Semaphores by key: at most `at_once` tasks of this process work on the same key; different keys do not wait."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def about(self, key: str) -> AsyncIterator[None]:
        """Hold a place for `key` while the context is open; waiting tasks get it in their order."""
        semaphore = self._semaphores.get(key)
        if semaphore is None:
            semaphore = self._semaphores[key] = asyncio.Semaphore(self._at_once)
        async with semaphore:
            yield


AT_ONCE = 2
"""Calls of one run in the database at once. Each locks the run's row: while one commits, the next one waits there. More
would hold connections that other runs need, and PostgreSQL would pass the lock through a queue."""


@dataclass(frozen=True)
class PostgresLedger:
    """Implements `capsules.actions.ledger_messages.Ledger`."""

    db: Database
    turns: KeyedSemaphore = field(default_factory=lambda: KeyedSemaphore(AT_ONCE), compare=False)

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, asked: HistoryAsked | None = None
    ) -> LedgerFacts:
        """Return the facts that a decision about an action needs. Raises Unavailable."""
        history = (asked or HistoryAsked()).model_dump_json()
        answer = await self._ask("SELECT gate_facts($1, $2, $3, $4, $5)", tenant, run, account, constitution, history)
        return LedgerFacts.model_validate_json(answer)

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the tenant's active constitution. Raises ConstitutionRefused when there is none."""
        found = await self.db.constitutions.active_digest(tenant)
        if found is None:
            raise ConstitutionRefused("No constitution is active, so nothing may run. `somagent up` installs one.")
        return found

    async def begin(self, entry: BeginEffect) -> EffectBegun:
        """Begin an effect: reserve, and record the decision. A refusal is a status of the answer.

        The decision is durable when this returns. Raises Conflict when the run has ended, and Unavailable.
        """
        async with self.turns.about(entry.key.run):
            answer = await self._ask("SELECT gate_begin($1)", json.dumps(_begin_request(entry)))
        return EffectBegun.model_validate_json(answer)

    async def finish(self, exit_: FinishEffect) -> Settled:
        """Settle an effect with its real usage, even beyond the reservation, and keep the result for a retry.

        Raises Conflict when the run has ended or the effect never began, and Unavailable.
        """
        result = to_json(exit_.result).decode()
        async with self.turns.about(exit_.key.run):
            answer = await self._ask("SELECT gate_finish($1, $2)", json.dumps(_finish_request(exit_, result)), result)
        return Settled.model_validate_json(answer)

    async def _ask(self, query: str, *arguments: Any) -> str:  # noqa: ANN401 - the driver's
        async with translate_errors(), self.db.pool.acquire() as connection:
            answer: str = await connection.fetchval(query, *arguments)
            return answer


def canonical_parts(members: dict[str, Any]) -> dict[str, str]:
    """Return each member of a receipt's body as canonical text."""
    return {name: canonical(value).decode() for name, value in members.items()}


def _attempt(key: AttemptKey) -> dict[str, Any]:
    return {**key.model_dump(), "effect": key.effect}


def _begin_request(entry: BeginEffect) -> dict[str, Any]:
    action, verdict = entry.action, entry.verdict
    return {
        **_attempt(entry.key),
        "capsule": entry.capsule,
        "actor": entry.actor,
        "account": entry.account,
        "kind": action.kind,
        "target": action.target,
        "idempotent": action.idempotent,
        "cost": action.cost.model_dump(),
        "action_digest": entry.action_digest,
        "sequences_before": entry.facts.sequences,
        "sequences_after": verdict.sequences,
        "constitution": verdict.constitution,
        "decision": verdict.decision,
        "sentence": verdict.sentence,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "demands": [_json(demand) for demand in merged(verdict.demands)],
        "escalation": [_json(step) for step in verdict.escalation],
        "expires_seconds": verdict.expires_seconds,
        "standing": list(entry.standing),
        "slow": entry.slow.sentence if entry.slow else None,
        "parts": canonical_parts(
            {
                "action": _json(action),
                "action_digest": entry.action_digest,
                "activity": entry.key.activity,
                "actor": entry.actor,
                "attempt": entry.key.attempt,
                "capsule": entry.capsule,
                "execution": entry.key.execution,
                "facts": _json(entry.facts),
                "verdict": _json(verdict),
                **({} if entry.shadow is None else {"shadow": _json(entry.shadow)}),
            }
        ),
    }


def _finish_request(exit_: FinishEffect, result: str) -> dict[str, Any]:
    error = exit_.error.replace("\0", "\N{REPLACEMENT CHARACTER}")  # a column of text cannot hold it
    return {
        **_attempt(exit_.key),
        "ok": exit_.ok,
        "usage": exit_.usage.model_dump(),
        "estimated": exit_.estimated,
        "error": error,
        "parts": canonical_parts(
            {
                "activity": exit_.key.activity,
                "attempt": exit_.key.attempt,
                "error": error,
                "estimated": exit_.estimated,
                "execution": exit_.key.execution,
                "ok": exit_.ok,
                "result": sha256(result.encode()),
                "usage": exit_.usage.model_dump(),
            }
        ),
    }


def _json(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
