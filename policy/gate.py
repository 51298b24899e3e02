"""Gate: checks an action's authority, evaluates it under the constitution, and lets the ledger begin the effect.

`Gate.enter` runs the steps in order: authority, constitution, facts, verdict, ledger. Each step fails closed.
`_raise_refusal` makes one of our errors of a refusal; `policy.temporal_errors` carries it to the workflow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from capsules.actions.action import Action, Facts, ForecastRange
from capsules.actions.activity_context import ActivityContext
from capsules.actions.ledger_messages import (
    AttemptKey,
    BeginEffect,
    EffectBegun,
    FinishEffect,
    HistoryQuery,
    Ledger,
    LedgerFacts,
    Settled,
)
from capsules.actions.verdict import ShadowVerdict, Verdict
from capsules.budgets.account import RateWindows
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
from capsules.forecasts.forecast import RunForecaster
from capsules.identity.authority import Authority, AuthorityVerifier
from capsules.runs.run import StartCapsule
from policy.decide.constitution_cache import ConstitutionCache
from policy.decide.decider import Decider
from policy.decide.engine import Policy
from policy.decide.facts import cost_ranges, decision_facts
from policy.decide.rate_limit import RateLimit
from policy.decide.standing_grants import matching_grants
from policy.detectors.argument_text import Reading
from policy.detectors.registry import detectors_for, history_asked, run_detectors
from policy.language.schema import FORECAST_PATHS

RACES = 8
"""How often an action is judged again because another one of its run moved a sequence in between."""


@dataclass(frozen=True)
class GateMeasurement:
    """One attempt at the gate, for metrics: its verdict, the ledger's answer, and durations in seconds."""

    action: Action
    verdict: Verdict
    shadow: ShadowVerdict | None
    status: str
    """The ledger's answer, as in `EffectBegun.status`."""
    judging: float
    """Seconds for the verdict, with the explanation of an ask or a deny."""
    passing: float
    """Seconds from the request to the durable decision."""


MetricsHook = Callable[[GateMeasurement], None]


@dataclass(frozen=True)
class AdmittedAttempt:
    """An admitted attempt: its pass, verdict and ledger answer; for a replay, the answer has the recorded result."""

    context: ActivityContext
    verdict: Verdict
    begun: EffectBegun
    rate_limit: RateLimit


class Gate:
    """Evaluates and admits attempts of activities. One for each worker process."""

    def __init__(  # noqa: PLR0913 - the ports of the gate
        self,
        verifier: AuthorityVerifier,
        policies: ConstitutionCache,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        metrics: MetricsHook = lambda _: None,
        windows: RateWindows | None = None,
        forecaster: RunForecaster | None = None,
    ) -> None:
        self._verifier = verifier
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._windows = windows
        self._forecaster = forecaster
        self._deciders: dict[Digest, Decider] = {}
        self.ledger = ledger

    async def enter(
        self,
        *,
        token: str | None,
        action: Action,
        key: AttemptKey,
        text: Callable[[], Reading],
        start: StartCapsule | None = None,
    ) -> AdmittedAttempt:
        """Let an attempt in, or raise the reason it may not go on. What is judged and refused leaves a receipt.

        Raises AuthorityRefused before anything is judged, ConstitutionRefused when the constitution is not valid,
        PolicyDenied when the constitution says no, ApprovalRequired when a person must say yes first, BudgetExhausted
        when the account cannot cover the upper bound, RateLimited when it is too early, Conflict when the run has
        ended, and Unavailable when a part does not answer.

        text: reads the action's arguments; called only when a constitution reads a detector score of them.
        start: the request of an action that starts a run; forecast only when a constitution reads forecasts.
        """
        began = perf_counter()
        authority = self._authority(token, action, key)
        constitution = authority.constitution or await self.ledger.active_constitution(authority.tenant)
        policy = await self._policies.get(constitution)
        # A start pays nothing itself; the account that a run pays from exists only after its admission.
        account = authority.account if authority.kind == "run" and action.kind != "capsule.start" else None
        for _ in range(RACES):
            facts, reads = await self._read_facts(authority, action, key, account, policy)
            signals = await run_detectors(detectors_for(reads), text, facts.history)
            known = decision_facts(authority, facts, action, signals, await self._forecast(authority, start, reads))
            asked = perf_counter()
            verdict = await self._decider(policy).evaluate_with_explanation(
                action, known, cost_ranges(facts.account, action, known.forecast)
            )
            judging = perf_counter() - asked
            rate_limit = RateLimit(self._windows, key, facts.rates)
            entry = BeginEffect(
                key=key,
                capsule=action.target if action.kind == "capsule.start" else authority.capsule,
                actor=authority.actor,
                action=action,
                action_digest=action.digest(),
                facts=known,
                verdict=verdict,
                shadow=await self._shadow_verdict(facts, constitution, action, known),
                account=account,
                rate_refusal=await rate_limit.begin(action, verdict),
                matching_grants=matching_grants(facts.open_grants, action, verdict, authority.actor),
            )
            begun = await self.ledger.begin(entry)
            if begun.status != "go":
                await rate_limit.undo()
            if begun.status != "stale":
                self._metrics(
                    GateMeasurement(action, verdict, entry.shadow, begun.status, judging, perf_counter() - began)
                )
                _raise_refusal(begun, entry, constitution)
                context = ActivityContext(authority=authority, key=key)
                return AdmittedAttempt(context=context, verdict=verdict, begun=begun, rate_limit=rate_limit)
        raise Unavailable(
            f"Run {key.run!r} did {RACES} other things while {action.kind} was judged; it is tried again."
        )

    async def leave(self, entered: AdmittedAttempt, exit_: FinishEffect) -> Settled:
        """Settle and record how an effect ended. Raises Unavailable, and Conflict as `Ledger.finish` does."""
        settled = await self.ledger.finish(exit_)
        await entered.rate_limit.end(exit_)
        return settled

    async def dry_run(
        self, authority: Authority, action: Action, run: str, text: Callable[[], Reading], start: StartCapsule
    ) -> tuple[Policy, Facts, Verdict]:
        """Return the policy, the facts and the verdict of an action that `enter` would evaluate now. Writes nothing.

        Raises ConstitutionRefused when no constitution is valid, and Unavailable when a part does not answer.
        """
        policy = await self._policies.get(
            authority.constitution or await self.ledger.active_constitution(authority.tenant)
        )
        key = AttemptKey(tenant=authority.tenant, run=run, execution="", activity="", attempt=0)
        stored, reads = await self._read_facts(authority, action, key, None, policy)
        signals = await run_detectors(detectors_for(reads), text, stored.history)
        known = decision_facts(authority, stored, action, signals, await self._forecast(authority, start, reads))
        return policy, known, policy.evaluate(action, known)

    async def _forecast(
        self, authority: Authority, start: StartCapsule | None, reads: frozenset[str]
    ) -> ForecastRange | None:
        """Return what a start will take, where a constitution looks at it. Raises Unavailable where nobody can say."""
        if start is None or FORECAST_PATHS.isdisjoint(reads):
            return None
        if self._forecaster is None:
            raise Unavailable("The constitution looks at forecasts, and this process makes none.", part="forecasts")
        forecast = await self._forecaster.of(authority.tenant, start)
        return ForecastRange(
            tokens=forecast.tokens.high,
            micro_usd=forecast.micro_usd.high,
            least_tokens=forecast.tokens.low,
            least_micro_usd=forecast.micro_usd.low,
        )

    async def _shadow_verdict(
        self, facts: LedgerFacts, active: Digest, action: Action, known: Facts
    ) -> ShadowVerdict | None:
        """Return what the shadow would decide of the same action, on the same facts and ranges."""

        async def evaluate(candidate: Policy) -> Verdict:
            ranges = cost_ranges(facts.account, action, known.forecast)
            return await self._decider(candidate).evaluate(action, known, ranges)

        return await self._policies.evaluate_shadow(facts.shadow, active, evaluate)

    def _decider(self, policy: Policy) -> Decider:
        known = self._deciders.get(policy.digest)
        if known is None or known.policy is not policy:
            known = self._deciders[policy.digest] = Decider(policy)
        return known

    async def _read_facts(
        self, authority: Authority, action: Action, key: AttemptKey, account: str | None, policy: Policy
    ) -> tuple[LedgerFacts, frozenset[str]]:
        """Return the facts that this constitution or its shadow reads, and the names of all that they read."""

        async def ask(history: HistoryQuery) -> LedgerFacts:
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


def _raise_refusal(begun: EffectBegun, entry: BeginEffect, constitution: Digest) -> None:
    if begun.status in {"go", "replay"}:
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
    if begun.status == "denied":
        raise PolicyDenied(f"{action.kind} on {action.target} is denied: {verdict.sentence}", **fields)
    if begun.status == "revoked":
        raise ConstitutionRefused(begun.sentence or f"The constitution {constitution} is unknown or revoked.", **fields)
    if begun.status == "ask" and begun.approval is not None:
        raise ApprovalRequired(begun.approval.sentence, approval=begun.approval.model_dump(mode="json"))
    if begun.status == "exhausted":
        left = begun.left or Amounts()
        raise BudgetExhausted(_shortage(action.cost, left), needed=action.cost.model_dump(), left=left.model_dump())
    if begun.status == "slow" and entry.rate_refusal is not None:
        if entry.rate_refusal.seconds is None:
            raise PolicyDenied(f"{action.kind} on {action.target}: {entry.rate_refusal.sentence}", **fields)
        raise RateLimited(
            f"{action.kind} on {action.target} waits {entry.rate_refusal.seconds:.1f} s: {entry.rate_refusal.sentence}",
            account=entry.rate_refusal.account,
            retry_after=entry.rate_refusal.seconds,
        )
    raise PolicyDenied(f"The ledger answered {begun.status!r}, which lets nothing through.", **fields)


def _shortage(cost: Amounts, left: Amounts) -> str:
    short = [
        f"{getattr(cost, d)} {d} needed, {getattr(left, d)} left"
        for d in DIMENSIONS
        if getattr(cost, d) > getattr(left, d)
    ]
    return f"The run's budget cannot cover this action: {'; '.join(short) or 'the account is closed'}. Raise it or end."
