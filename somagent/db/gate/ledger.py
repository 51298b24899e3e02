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

import structlog
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
from capsules.base_model import FrozenModel
from capsules.digest import Digest, canonical, sha256
from capsules.errors import AuthorityRefused, SomaError
from somagent.db.database import Database
from somagent.identity.proofs import (
    ApprovalProof,
    GrantProof,
    RaiseProof,
    approving_answers,
    check_grant,
    check_raise,
)

log = structlog.get_logger(__name__)


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


PROOF = '{"status" : "proof"'
"""Begin of the answer of `gate_begin` when attestations must be verified first."""


class StoredFacts(LedgerFacts):
    """The facts of the database, with the raises of the account's limit."""

    raises: tuple[RaiseProof, ...] | None = None


class Proofs(FrozenModel):
    """What may allow an action that people are asked about."""

    approvals: tuple[ApprovalProof, ...]
    grants: tuple[GrantProof, ...]


class GateProofs(FrozenModel):
    """Answer of `gate_begin` when attestations must be verified first."""

    proofs: Proofs


@dataclass(frozen=True)
class PostgresLedger:
    """Implements `capsules.actions.ledger_messages.Ledger`."""

    db: Database
    semaphores: KeyedSemaphore = field(default_factory=lambda: KeyedSemaphore(AT_ONCE), compare=False)

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, history: HistoryQuery | None = None
    ) -> LedgerFacts:
        """Return the facts that a decision about an action needs.

        Raises AuthorityRefused when a raise of the account has no valid attestation, and Unavailable.
        """
        arguments = (tenant, run, account, constitution, (history or HistoryQuery()).model_dump_json())
        answer = await self.db.call("SELECT gate_facts($1, $2, $3, $4, $5)", *arguments)
        facts = StoredFacts.model_validate_json(answer)
        for raised in facts.raises or ():
            try:
                check_raise(self.db.tokens, tenant, run, raised)
            except SomaError as error:
                raise AuthorityRefused(
                    f"The limit of account {account!r} was raised without proof that a person did it: {error.message} "
                    "Nothing is spent from it. Cancel the run and start it again.",
                    account=account,
                ) from error
        return facts

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the tenant's active constitution. Raises ConstitutionRefused when there is none."""
        return await self.db.constitutions.require_active_digest(tenant)

    async def begin(self, request: BeginEffect) -> BeginEffectResult:
        """Begin an effect: reserve, and record the decision. A refusal is a status of the answer.

        The decision is durable when this returns. Raises Conflict when the run has ended, and Unavailable.
        """
        entry = _begin_request(request)
        async with self.semaphores.hold(request.key.run):
            answer = await self.db.call("SELECT gate_begin($1)", json.dumps(entry))
            if answer.startswith(PROOF):  # what may allow the action is verified here, then counts
                entry |= self._verify_proofs(request, answer)
                answer = await self.db.call("SELECT gate_begin($1)", json.dumps(entry))
        return BeginEffectResult.model_validate_json(answer)

    def _verify_proofs(self, request: BeginEffect, answer: str) -> dict[str, Any]:
        """Return the members of the entry that name the verified approval and grants, and why others do not count."""
        proofs = GateProofs.model_validate_json(answer).proofs
        proved: dict[str, Any] = {"grants": []}
        problems = []
        for proof in proofs.approvals:
            try:
                answers = approving_answers(self.db.tokens, request, proof)
            except SomaError as error:
                problems.append(f"Approval {proof.id!r} does not count: {error.message}")
                continue
            proved |= {"approval": proof.id, "answers": [_json(one) for one in answers]}
            break
        for grant in proofs.grants:
            try:
                check_grant(self.db.tokens, request.key.tenant, grant)
            except SomaError as error:
                problems.append(f"Standing grant {grant.row['id']!r} does not count: {error.message}")
            else:
                proved["grants"].append(grant.row)
        if not problems:
            return {"proved": proved}
        log.warning("decision.not_proved", run=request.key.run, activity=request.key.activity, problems=problems)
        return {"proved": proved, "sentence": " ".join([request.verdict.sentence, *problems])}

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
