"""Ledger of the gate: one call of one database function before an effect, one after it.

A receipt has two sources. Python passes the members that it knows as canonical JSON. The database adds those that only
it knows (decision, time, approval) in the same form and hashes the whole (`capsules.audit.receipt.verify_chain`).
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
    BeginEffectResult,
    FinishEffect,
    FinishEffectResult,
    HistoryQuery,
    LedgerFacts,
)
from capsules.approvals.approval import merge_demands
from capsules.digest import Digest, canonical, sha256
from somagent.db.database import Database


class KeyedSemaphore:
    """One semaphore for each key: at most `at_once` tasks of this process hold the same key at a time."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold `key` while the context is open. Tasks that wait for it get it in the order in which they came."""
        semaphore = self._semaphores.get(key)
        if semaphore is None:
            semaphore = self._semaphores[key] = asyncio.Semaphore(self._at_once)
        async with semaphore:
            yield


AT_ONCE = 2
"""Calls of one run in the database at once. Each locks the row of the run: while one commits, the next waits for the
lock. More calls would only take connections from other runs."""


@dataclass(frozen=True)
class PostgresLedger:
    """Implements `capsules.actions.ledger_messages.Ledger`."""

    db: Database
    semaphores: KeyedSemaphore = field(default_factory=lambda: KeyedSemaphore(AT_ONCE), compare=False)

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, history: HistoryQuery | None = None
    ) -> LedgerFacts:
        """Return the facts that a decision about an action needs. Raises Unavailable."""
        arguments = (tenant, run, account, constitution, (history or HistoryQuery()).model_dump_json())
        answer = await self.db.call("SELECT gate_facts($1, $2, $3, $4, $5)", *arguments)
        return LedgerFacts.model_validate_json(answer)

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the tenant's active constitution. Raises ConstitutionRefused when there is none."""
        return await self.db.constitutions.require_active_digest(tenant)

    async def begin(self, request: BeginEffect) -> BeginEffectResult:
        """Begin an effect: reserve, and record the decision. A refusal is a status of the answer.

        The decision is durable when this returns. Raises Conflict when the run has ended, and Unavailable.
        """
        async with self.semaphores.hold(request.key.run):
            answer = await self.db.call("SELECT gate_begin($1)", json.dumps(_begin_request(request)))
        return BeginEffectResult.model_validate_json(answer)

    async def finish(self, outcome: FinishEffect) -> FinishEffectResult:
        """Settle an effect with its real usage, even beyond the reservation, and keep the result for a retry.

        Raises Conflict when the run has ended or the effect never began, and Unavailable.
        """
        result = to_json(outcome.result).decode()
        async with self.semaphores.hold(outcome.key.run):
            request = json.dumps(_finish_request(outcome, result))
            answer = await self.db.call("SELECT gate_finish($1, $2)", request, result)
        return FinishEffectResult.model_validate_json(answer)


def canonical_parts(members: dict[str, Any]) -> dict[str, str]:
    """Return each member of a receipt's body as canonical text."""
    return {name: canonical(value).decode() for name, value in members.items()}


def _attempt(key: AttemptKey) -> dict[str, Any]:
    return {**key.model_dump(), "effect": key.effect}


def _begin_request(request: BeginEffect) -> dict[str, Any]:
    action, verdict = request.action, request.verdict
    return {
        **_attempt(request.key),
        "capsule": request.capsule,
        "actor": request.actor,
        "account": request.account,
        "kind": action.kind,
        "target": action.target,
        "idempotent": action.idempotent,
        "cost": action.cost.model_dump(),
        "action_digest": request.action_digest,
        "sequences_before": request.facts.sequences,
        "sequences_after": verdict.sequences,
        "constitution": verdict.constitution,
        "decision": verdict.decision,
        "sentence": verdict.sentence,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "demands": [_json(demand) for demand in merge_demands(verdict.demands)],
        "escalation": [_json(step) for step in verdict.escalation],
        "expires_seconds": verdict.expires_seconds,
        "standing": list(request.matching_grants),
        "slow": request.rate_refusal.sentence if request.rate_refusal else None,
        "parts": canonical_parts(
            {
                "action": _json(action),
                "action_digest": request.action_digest,
                "activity": request.key.activity,
                "actor": request.actor,
                "attempt": request.key.attempt,
                "capsule": request.capsule,
                "execution": request.key.execution,
                "facts": _json(request.facts),
                "verdict": _json(verdict),
                **({} if request.shadow is None else {"shadow": _json(request.shadow)}),
            }
        ),
    }


def _finish_request(outcome: FinishEffect, result: str) -> dict[str, Any]:
    error = outcome.error.replace("\0", "\N{REPLACEMENT CHARACTER}")  # a column of text cannot hold it
    return {
        **_attempt(outcome.key),
        "ok": outcome.ok,
        "usage": outcome.usage.model_dump(),
        "estimated": outcome.estimated,
        "error": error,
        "parts": canonical_parts(
            {
                "activity": outcome.key.activity,
                "attempt": outcome.key.attempt,
                "error": error,
                "estimated": outcome.estimated,
                "execution": outcome.key.execution,
                "ok": outcome.ok,
                "result": sha256(result.encode()),
                "usage": outcome.usage.model_dump(),
            }
        ),
    }


def _json(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
