"""One passage through the gate: authority, constitution, facts, verdict, ledger. Fails closed at each.

The order is the specification; each step is one line of `enter`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capsules.action import Action, Facts
from capsules.amounts import DIMENSIONS, Amounts
from capsules.authority import Authority
from capsules.digest import Digest
from capsules.errors import (
    ApprovalRequired,
    AuthorityRefused,
    BudgetExhausted,
    ConstitutionRefused,
    PolicyDenied,
)
from capsules.gate import AttemptKey, Entry, LedgerFacts, Passage
from capsules.passage import Pass
from capsules.ports import AuthorityVerifier, Ledger
from capsules.verdict import Verdict
from policy.source import Policies


@dataclass(frozen=True)
class Entered:
    """An attempt that may go on: with its pass, its verdict and, for a replay, the result it already had."""

    granted: Pass
    verdict: Verdict
    passage: Passage


class Gate:
    """Judges and admits attempts. One for each worker process."""

    def __init__(
        self, verifier: AuthorityVerifier, policies: Policies, ledger: Ledger, *, clock: Callable[[], float]
    ) -> None:
        self._verifier = verifier
        self._policies = policies
        self._clock = clock
        self.ledger = ledger

    async def enter(self, *, token: str | None, action: Action, key: AttemptKey) -> Entered:
        """Let an attempt in, or raise the reason it may not go on. What is refused leaves a receipt."""
        authority = self._authority(token, action, key)
        constitution = authority.constitution or await self.ledger.active_constitution(authority.tenant)
        policy = await self._policies.get(constitution)
        # A start pays nothing itself; the account that a run pays from exists only after its admission.
        account = authority.account if authority.kind == "run" and action.kind != "capsule.start" else None
        facts = await self.ledger.facts(authority.tenant, key.run, account, constitution)
        known = _facts(authority, facts, action)
        verdict = policy.judge(action, known)
        passage = await self.ledger.begin(
            Entry(
                key=key,
                capsule=action.target if action.kind == "capsule.start" else authority.capsule,
                actor=authority.actor,
                action=action,
                action_digest=action.digest(),
                facts=known,
                verdict=verdict,
                account=account,
            )
        )
        _go_on(passage, verdict, action, constitution)
        return Entered(granted=Pass(authority=authority, key=key), verdict=verdict, passage=passage)

    def _authority(self, token: str | None, action: Action, key: AttemptKey) -> Authority:
        if not token:
            raise AuthorityRefused(
                f"{action.kind} came without an authority; start runs by the API, a schedule or a parent."
            )
        authority = self._verifier.verify(token)
        if not key.run.startswith(f"{authority.tenant}/"):
            raise AuthorityRefused(f"Run {key.run!r} is not of tenant {authority.tenant!r}.")
        authority.check(run=key.run, kind=action.kind, target=action.target, now=int(self._clock()))
        return authority


def _facts(authority: Authority, facts: LedgerFacts, action: Action) -> Facts:
    account = facts.account
    return Facts(
        autonomy=authority.autonomy,
        headroom=_headroom(account.limit, account.left, action.cost) if account else 1.0,
        denials=facts.denials,
        actor=authority.actor,
        tenant=authority.tenant,
        sequences=facts.sequences,
    )


def _headroom(limit: Amounts, left: Amounts, cost: Amounts) -> float:
    """Return the least share of the limit that would be left, over the dimensions the action draws on."""
    shares = [
        max(0, getattr(left, d) - getattr(cost, d)) / getattr(limit, d)
        for d in DIMENSIONS
        if getattr(cost, d) and getattr(limit, d)
    ]
    return min(shares, default=1.0)


def _go_on(passage: Passage, verdict: Verdict, action: Action, constitution: Digest) -> None:
    if passage.status in {"go", "replay"}:
        return
    fields: dict[str, Any] = {
        "action": action.kind,
        "target": action.target,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "clauses": list(verdict.clauses),
        "contributions": [c.model_dump(mode="json") for c in verdict.contributions],
        "constitution": constitution,
    }
    if passage.status == "denied":
        raise PolicyDenied(f"{action.kind} on {action.target} is denied: {verdict.sentence}", **fields)
    if passage.status == "revoked":
        raise ConstitutionRefused(
            passage.sentence or f"The constitution {constitution} is unknown or revoked.", **fields
        )
    if passage.status == "ask" and passage.approval is not None:
        raise ApprovalRequired(passage.approval.sentence, approval=passage.approval.model_dump(mode="json"))
    if passage.status == "exhausted":
        left = passage.left or Amounts()
        raise BudgetExhausted(_shortage(action.cost, left), needed=action.cost.model_dump(), left=left.model_dump())
    raise PolicyDenied(f"The ledger answered {passage.status!r}, which lets nothing through.", **fields)


def _shortage(cost: Amounts, left: Amounts) -> str:
    short = [
        f"{getattr(cost, d)} {d} needed, {getattr(left, d)} left"
        for d in DIMENSIONS
        if getattr(cost, d) > getattr(left, d)
    ]
    return f"The run's budget cannot cover this action: {'; '.join(short) or 'the account is closed'}. Raise it or end."
