"""The gate: checks an action's authority, judges it by the constitution, and lets the ledger decide with the facts.

`Gate.enter` runs the steps in order: authority, constitution, facts, verdict, ledger. Each step fails closed. A refusal
becomes one of our errors here, in `_go_on`, and keeps that type on its way to the workflow (`policy.temporal_errors`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from capsules.actions.action import Action, Facts, Foreseen, in_fixed_point
from capsules.actions.activity_context import GatePass
from capsules.actions.ledger_messages import (
    AttemptKey,
    BeginEffect,
    EffectBegun,
    FinishEffect,
    HistoryAsked,
    Ledger,
    LedgerFacts,
    Settled,
)
from capsules.actions.verdict import PPM, ShadowVerdict, Verdict
from capsules.budgets.account import Account, RateWindows
from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.digest import Digest
from capsules.errors import (
    ApprovalRequired,
    AuthorityRefused,
    BudgetExhausted,
    ConstitutionRefused,
    PolicyDenied,
    RateLimited,
    Unavailable,
)
from capsules.forecasts.forecast import Foresight
from capsules.identity.authority import Authority, AuthorityVerifier
from capsules.runs.run import StartCapsule
from policy.decide.constitution_cache import Policies
from policy.decide.decider import Decider
from policy.decide.engine import Policy
from policy.decide.metrics_hook import MetricsHook, measure, no_metrics
from policy.decide.rate_limit import RateLimit
from policy.decide.standing_grants import matching_grants
from policy.detectors.argument_text import Reading
from policy.detectors.registry import STANDING, history_asked, measured, wanted
from policy.language.schema import FORESEEN
from policy.prove.intervals import Range

RACES = 8
"""How often an action is judged again because another one of its run moved a sequence in between."""


@dataclass(frozen=True)
class Entered:
    """An attempt that may go on: with its pass, its verdict and, for a replay, the result it already had."""

    granted: GatePass
    verdict: Verdict
    passage: EffectBegun
    pace: RateLimit


class Gate:
    """Judges and admits attempts. One for each worker process."""

    def __init__(  # noqa: PLR0913 - what a passage consults
        self,
        verifier: AuthorityVerifier,
        policies: Policies,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        watch: MetricsHook = no_metrics,
        windows: RateWindows | None = None,
        foresight: Foresight | None = None,
    ) -> None:
        self._verifier = verifier
        self._policies = policies
        self._clock = clock
        self._watch = watch
        self._windows = windows
        self._foresight = foresight
        self._judges: dict[Digest, Decider] = {}
        self.ledger = ledger

    async def enter(
        self,
        *,
        token: str | None,
        action: Action,
        key: AttemptKey,
        text: Callable[[], Reading],
        start: StartCapsule | None = None,
    ) -> Entered:
        """Let an attempt in, or raise the reason it may not go on. What is judged and refused leaves a receipt.

        Raises AuthorityRefused before anything is judged, ConstitutionRefused when the constitution is not valid,
        PolicyDenied when the constitution says no, ApprovalRequired when a person must say yes first, BudgetExhausted
        when the account cannot cover the upper bound, RateLimited when it is too early, Conflict when the run has
        ended, and Unavailable when a part does not answer.

        text: reads the action's arguments; called only when a constitution looks at what signals measure in them.
        start: what is asked for, where the action starts a run: forecast only when a constitution looks at that.
        """
        began = perf_counter()
        authority = self._authority(token, action, key)
        constitution = authority.constitution or await self.ledger.active_constitution(authority.tenant)
        policy = await self._policies.get(constitution)
        # A start pays nothing itself; the account that a run pays from exists only after its admission.
        account = authority.account if authority.kind == "run" and action.kind != "capsule.start" else None
        for _ in range(RACES):
            facts, reads = await self._stored(authority, action, key, account, policy)
            signals = await measured(wanted(reads), text, facts.history)
            known = _facts(authority, facts, action, signals, await self._foreseen(authority, start, reads))
            asked = perf_counter()
            verdict = await self._judge(policy).judge(action, known, _ranges(facts.account, action, known.forecast))
            judging = perf_counter() - asked
            pace = RateLimit(self._windows, key, facts.rates)
            entry = BeginEffect(
                key=key,
                capsule=action.target if action.kind == "capsule.start" else authority.capsule,
                actor=authority.actor,
                action=action,
                action_digest=action.digest(),
                facts=known,
                verdict=verdict,
                shadow=await self._shadow(facts, constitution, action, known),
                account=account,
                slow=await pace.begin(action, verdict),
                standing=matching_grants(facts.standing, action, verdict, authority.actor),
            )
            passage = await self.ledger.begin(entry)
            if passage.status != "go":
                await pace.undo()
            if passage.status != "stale":
                self._watch(measure(entry, passage.status, judging=judging, passing=perf_counter() - began))
                _go_on(passage, entry, constitution)
                granted = GatePass(authority=authority, key=key)
                return Entered(granted=granted, verdict=verdict, passage=passage, pace=pace)
        raise Unavailable(
            f"Run {key.run!r} did {RACES} other things while {action.kind} was judged; it is tried again."
        )

    async def leave(self, entered: Entered, exit_: FinishEffect) -> Settled:
        """Settle and record how an effect ended. Raises Unavailable, and Conflict as `Ledger.finish` does."""
        settled = await self.ledger.finish(exit_)
        await entered.pace.end(exit_)
        return settled

    async def foresee(
        self, authority: Authority, action: Action, run: str, text: Callable[[], Reading], start: StartCapsule
    ) -> tuple[Policy, Facts, Verdict]:
        """Return the policy, the facts and the verdict of an action that `enter` would judge now. Writes nothing.

        Raises ConstitutionRefused when no constitution is valid, and Unavailable when a part does not answer.
        """
        policy = await self._policies.get(
            authority.constitution or await self.ledger.active_constitution(authority.tenant)
        )
        key = AttemptKey(tenant=authority.tenant, run=run, execution="", activity="", attempt=0)
        stored, reads = await self._stored(authority, action, key, None, policy)
        signals = await measured(wanted(reads), text, stored.history)
        known = _facts(authority, stored, action, signals, await self._foreseen(authority, start, reads))
        return policy, known, policy.judge(action, known)

    async def _foreseen(
        self, authority: Authority, start: StartCapsule | None, reads: frozenset[str]
    ) -> Foreseen | None:
        """Return what a start will take, where a constitution looks at it. Raises Unavailable where nobody can say."""
        if start is None or FORESEEN.isdisjoint(reads):
            return None
        if self._foresight is None:
            raise Unavailable("The constitution looks at forecasts, and this process makes none.", part="forecasts")
        told = await self._foresight.of(authority.tenant, start)
        return Foreseen(
            tokens=told.tokens.high,
            micro_usd=told.micro_usd.high,
            least_tokens=told.tokens.low,
            least_micro_usd=told.micro_usd.low,
        )

    async def _shadow(self, facts: LedgerFacts, active: Digest, action: Action, known: Facts) -> ShadowVerdict | None:
        """Return what the shadow would decide of the same action, on the same facts and ranges."""

        async def judge(candidate: Policy) -> Verdict:
            ranges = _ranges(facts.account, action, known.forecast)
            return await self._judge(candidate).verdict(action, known, ranges)

        return await self._policies.shadowed(facts.shadow, active, judge)

    def _judge(self, policy: Policy) -> Decider:
        known = self._judges.get(policy.digest)
        if known is None or known.policy is not policy:
            known = self._judges[policy.digest] = Decider(policy)
        return known

    async def _stored(
        self, authority: Authority, action: Action, key: AttemptKey, account: str | None, policy: Policy
    ) -> tuple[LedgerFacts, frozenset[str]]:
        """Return what the store knows, as far as this constitution or its shadow reads it, and all that they read."""

        async def ask(history: HistoryAsked) -> LedgerFacts:
            return await self.ledger.facts(authority.tenant, key.run, account, policy.digest, history)

        asked = history_asked(policy.reads, authority.actor, action)
        facts = await ask(asked)
        reads = policy.reads | await self._policies.shadow_reads(facts.shadow)
        more = history_asked(reads, authority.actor, action)
        return (facts if more == asked else await ask(more)), reads

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


def _facts(
    authority: Authority,
    facts: LedgerFacts,
    action: Action,
    signals: Mapping[str, float],
    foreseen: Foreseen | None,
) -> Facts:
    account = facts.account
    return Facts(
        autonomy=authority.autonomy,
        headroom=_headroom(account.limit, account.left, action.cost) if account else 1.0,
        denials=facts.denials,
        actor=authority.actor,
        tenant=authority.tenant,
        parent=facts.parent,
        standing=signals.get(STANDING),
        sequences=facts.sequences,
        forecast=foreseen,
        signals={path.removeprefix("signals."): value for path, value in signals.items() if path != STANDING},
    )


def _ranges(account: Account | None, action: Action, foreseen: Foreseen | None = None) -> dict[str, Range]:
    """Return what is known of a cost before the effect: from its lower to its upper bound, and what that leaves."""
    ranges: dict[str, Range] = {}
    if foreseen is not None:
        ranges["forecast.tokens"] = (foreseen.least_tokens, foreseen.tokens)
        ranges["forecast.micro_usd"] = (foreseen.least_micro_usd, foreseen.micro_usd)
    if action.least is None:
        return ranges
    ranges |= {f"action.{d}": (getattr(action.least, d), getattr(action.cost, d)) for d in ("tokens", "micro_usd")}
    if account:
        ends = (_headroom(account.limit, account.left, cost) for cost in (action.cost, action.least))
        low, high = (int(in_fixed_point(end) * PPM + 0.5) for end in ends)
        ranges["budget.headroom"] = (low, max(low, high))
    return ranges


def _headroom(limit: Amounts, left: Amounts, cost: Amounts) -> float:
    """Return the least share of the limit that would be left, over the dimensions the action draws on."""
    shares = [
        max(0, getattr(left, d) - getattr(cost, d)) / getattr(limit, d)
        for d in DIMENSIONS
        if getattr(cost, d) and getattr(limit, d)
    ]
    return min(shares, default=1.0)


def _go_on(passage: EffectBegun, entry: BeginEffect, constitution: Digest) -> None:
    if passage.status in {"go", "replay"}:
        return
    action, verdict = entry.action, entry.verdict
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
    if passage.status == "slow" and entry.slow is not None:
        if entry.slow.seconds is None:
            raise PolicyDenied(f"{action.kind} on {action.target}: {entry.slow.sentence}", **fields)
        raise RateLimited(
            f"{action.kind} on {action.target} waits {entry.slow.seconds:.1f} s: {entry.slow.sentence}",
            account=entry.slow.account,
            retry_after=entry.slow.seconds,
        )
    raise PolicyDenied(f"The ledger answered {passage.status!r}, which lets nothing through.", **fields)


def _shortage(cost: Amounts, left: Amounts) -> str:
    short = [
        f"{getattr(cost, d)} {d} needed, {getattr(left, d)} left"
        for d in DIMENSIONS
        if getattr(cost, d) > getattr(left, d)
    ]
    return f"The run's budget cannot cover this action: {'; '.join(short) or 'the account is closed'}. Raise it or end."
