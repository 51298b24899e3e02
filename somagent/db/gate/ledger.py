"""Ledger of the gate: one call of one database function before an effect, one after it.

What Python knows of a receipt is canonical JSON before the call; what only the database can answer (which decision,
when, whose approval) it adds as further members, in canonical form, and hashes the whole. So a chain that the database
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

from capsules.actions.action import Action
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
from somagent.db.database import Store
from somagent.db.errors import translated


class KeyedSemaphore:
    """Lets so many callers of this process at once do something about one thing; any number about different ones."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def about(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn; the first to ask is the first to have it."""
        turn = self._taken.get(key)
        if turn is None:
            turn = self._taken[key] = asyncio.Semaphore(self._at_once)
        async with turn:
            yield


AT_ONCE = 2
"""Calls of one run on their way at once: each locks the run's row. While one commits, the next is there and waits; more
would only hold connections, which other runs then lack, and make PostgreSQL pass the lock through a queue."""


@dataclass(frozen=True)
class PostgresLedger:
    """Implements `capsules.actions.ledger_messages.Ledger`."""

    store: Store
    turns: KeyedSemaphore = field(default_factory=lambda: KeyedSemaphore(AT_ONCE), compare=False)

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, asked: HistoryAsked | None = None
    ) -> LedgerFacts:
        """Return what the store knows when an action is judged. Raises Unavailable."""
        history = (asked or HistoryAsked()).model_dump_json()
        answer = await self._ask("SELECT gate_facts($1, $2, $3, $4, $5)", tenant, run, account, constitution, history)
        return LedgerFacts.model_validate_json(answer)

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the tenant's active constitution. Raises ConstitutionRefused when there is none."""
        found = await self.store.constitutions.active_digest(tenant)
        if found is None:
            raise ConstitutionRefused("No constitution is active, so nothing may run. `somagent up` installs one.")
        return found

    async def begin(self, entry: BeginEffect) -> EffectBegun:
        """Let an effect begin, or say why not: a refusal is a status of the answer, and the gate makes an error of it.

        The decision is durable when this returns. Raises Conflict when the run has ended, and Unavailable.
        """
        async with self.turns.about(entry.key.run):
            answer = await self._ask("SELECT gate_begin($1)", json.dumps(_entry(entry)))
        return EffectBegun.model_validate_json(answer)

    async def finish(self, exit_: FinishEffect) -> Settled:
        """Settle with what was really used, even beyond the reservation, and keep the result for a retry.

        Raises Conflict when the run has ended or the effect never began, and Unavailable.
        """
        result = to_json(exit_.result).decode()
        async with self.turns.about(exit_.key.run):
            answer = await self._ask("SELECT gate_finish($1, $2)", json.dumps(_exit(exit_, result)), result)
        return Settled.model_validate_json(answer)

    async def _ask(self, query: str, *arguments: Any) -> str:  # noqa: ANN401 - the driver's
        async with translated(), self.store.pool.acquire() as connection:
            answer: str = await connection.fetchval(query, *arguments)
            return answer


def canonical_parts(members: dict[str, Any]) -> dict[str, str]:
    """Return each member of a receipt's body as canonical text."""
    return {name: canonical(value).decode() for name, value in members.items()}


def _attempt(key: AttemptKey) -> dict[str, Any]:
    return {**key.model_dump(), "effect": key.effect}


def _entry(entry: BeginEffect) -> dict[str, Any]:
    action: Action = entry.action
    verdict = entry.verdict
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
        "demands": [_plain(demand) for demand in merged(verdict.demands)],
        "escalation": [_plain(step) for step in verdict.escalation],
        "expires_seconds": verdict.expires_seconds,
        "standing": list(entry.standing),
        "slow": entry.slow.sentence if entry.slow else None,
        "parts": canonical_parts(
            {
                "action": _plain(action),
                "action_digest": entry.action_digest,
                "activity": entry.key.activity,
                "actor": entry.actor,
                "attempt": entry.key.attempt,
                "capsule": entry.capsule,
                "execution": entry.key.execution,
                "facts": _plain(entry.facts),
                "verdict": _plain(verdict),
                **({} if entry.shadow is None else {"shadow": _plain(entry.shadow)}),
            }
        ),
    }


def _exit(exit_: FinishEffect, result: str) -> dict[str, Any]:
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


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
