"""Gate: checks an action's authority, evaluates it under the constitution, and lets the ledger begin the effect.

`Gate.enter` runs the steps in order: authority, constitution, facts, verdict, ledger. Each step fails closed.
`_raise_refusal` raises the error of a refusal; `policy.temporal_errors` converts it to a Temporal failure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from capsules.actions.action import Action, Facts, ForecastRange
from capsules.actions.activity_context import ActivityContext
from capsules.actions.ledger_messages import (
    AttemptKey,
    BeginEffect,
    BeginEffectResult,
    FinishEffect,
    FinishEffectResult,
    HistoryQuery,
    Ledger,
    LedgerFacts,
)
from capsules.actions.verdict import ShadowVerdict, Verdict
from capsules.budgets.account import RateWindows
from capsules.budgets.amounts import DIMENSIONS, Amounts
from capsules.digest import Digest, digest
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
from capsules.runs.lock import Lock, Locks
from capsules.runs.run import StartCapsule, StartClaims
from capsules.tools.tool import ToolRequest
from policy.decide.constitution_cache import ConstitutionCache
from policy.decide.decider import Decider, Range
from policy.decide.engine import Policy
from policy.decide.facts import cost_ranges, decision_facts
from policy.decide.rate_limit import RateLimit
from policy.decide.standing_grants import matching_grants
from policy.detectors.argument_text import Reading
from policy.detectors.registry import detectors_for, history_query, run_detectors
from policy.language.schema import FORECAST_PATHS

RACES = 8
"""Most evaluations of one action. It is evaluated again when another action of the run changed a sequence meanwhile."""


@dataclass(frozen=True)
class GateMeasurement:
    """One attempt at the gate, for metrics: its verdict, the ledger's answer, and durations in seconds."""

    action: Action
    verdict: Verdict
    shadow: ShadowVerdict | None
    status: str
    """The ledger's answer, as in `BeginEffectResult.status`."""
    evaluation_seconds: float
    """Of the verdict, with the explanation of an ask or a deny."""
    total_seconds: float
    """From the request to the durable decision."""


MetricsHook = Callable[[GateMeasurement], None]


@dataclass(frozen=True)
class AllowedAttempt:
    """An attempt that may go on: activity context, verdict and ledger answer, with the recorded result if any."""

    context: ActivityContext
    verdict: Verdict
    begun: BeginEffectResult
    rate_limit: RateLimit


class Gate:
    """Evaluates attempts of activities and lets them begin or refuses them. One for each worker process."""

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
        locks: Locks | None = None,
        starts: StartClaims | None = None,
    ) -> None:
        self._locks = locks
        self._starts = starts
        self._verifier = verifier
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._windows = windows
        self._forecaster = forecaster
        self._deciders: dict[Digest, Decider] = {}
        self.ledger = ledger

    async def enter(  # noqa: PLR0913 - what an attempt says
        self,
        *,
        token: str | None,
        action: Action,
        key: AttemptKey,
        text: Callable[[], Reading],
        start: StartCapsule | None = None,
        lock: Lock | None = None,
        call: ToolRequest | None = None,
    ) -> AllowedAttempt:
        """Let an attempt begin, or raise the reason for its refusal. Every evaluated attempt leaves a receipt.

        Raises AuthorityRefused before the evaluation, ConstitutionRefused when the constitution is not valid,
        PolicyDenied when the constitution denies the action, ApprovalRequired when people must approve it first,
        BudgetExhausted when the account cannot cover the upper bound, RateLimited when a rate limit is reached,
        Conflict when the run has ended, and Unavailable when a part does not answer.

        text: reads the action's arguments; called only when a constitution reads a detector score of them.
        start: the request of an action that starts a run; forecast only when a constitution reads forecasts.
        lock: what `lock` returned for this attempt, for the activity's body.
        call: the call of a tool invocation; an approval edit is bound to its arguments.
        """
        began = perf_counter()
        authority = self._authority(token, action, key)
        first_execution = await self._claim_start(action, key, authority, start, lock)
        policy = await self._policy(authority)
        # A start pays nothing itself; the account that a run pays from exists only after its admission.
        account = authority.account if authority.kind == "run" and action.kind != "capsule.start" else None
        for _ in range(RACES):
            stored, facts = await self._facts(authority, action, key, account, policy, text, start)
            ranges = cost_ranges(stored.account, action, facts.forecast)
            evaluation_began = perf_counter()
            verdict = await self._decider(policy).evaluate_with_explanation(action, facts, ranges)
            evaluation_seconds = perf_counter() - evaluation_began
            rate_limit = RateLimit(self._windows, key, stored.rates)
            request = BeginEffect(
                key=key,
                capsule=action.target if action.kind == "capsule.start" else authority.capsule,
                actor=authority.actor,
                action=action,
                action_digest=action.digest(),
                facts=facts,
                verdict=verdict,
                shadow=await self._shadow_verdict(stored.shadow, policy.digest, action, facts, ranges),
                account=account,
                rate_refusal=await rate_limit.begin(action, verdict),
                matching_grants=matching_grants(stored.open_grants, action, verdict, authority.actor),
                call_arguments=digest(call.arguments) if call is not None and verdict.decision == "ask" else None,
            )
            begun = await self.ledger.begin(request)
            if begun.status != "go":
                await rate_limit.undo()
            if begun.status != "stale":
                total_seconds = perf_counter() - began
                self._metrics(
                    GateMeasurement(action, verdict, request.shadow, begun.status, evaluation_seconds, total_seconds)
                )
                _raise_refusal(begun, request, policy.digest)
                context = ActivityContext(authority, key, lock=lock, first_execution=first_execution)
                return AllowedAttempt(context=context, verdict=verdict, begun=begun, rate_limit=rate_limit)
        raise Unavailable(
            f"Run {key.run!r} changed {RACES} times while {action.kind} was evaluated; the attempt is retried."
        )

    async def lock(self, token: str | None, key: AttemptKey) -> Lock | None:
        """Return the lock of the run whose authority an attempt carries; None for the authority of a start.

        Raises AuthorityRefused for an authority of another run, TamperedContent when the stored lock is not the one
        that the authority was made with, and Unavailable.
        """
        authority = self._verify(token, key)
        if authority.kind == "start" or self._locks is None:
            return None
        return await self._locks.get(authority.tenant, authority.run, authority.lock)

    async def leave(self, entered: AllowedAttempt, outcome: FinishEffect) -> FinishEffectResult:
        """Settle and record how an effect ended. Raises Unavailable, and Conflict as `Ledger.finish` does."""
        settled = await self.ledger.finish(outcome)
        await entered.rate_limit.end(outcome)
        return settled

    async def dry_run(
        self, authority: Authority, action: Action, run: str, text: Callable[[], Reading], start: StartCapsule
    ) -> tuple[Policy, Facts, Verdict]:
        """Return the policy, the facts and the verdict of an action that `enter` would evaluate now. Writes nothing.

        Raises ConstitutionRefused when no constitution is valid, and Unavailable when a part does not answer.
        """
        policy = await self._policy(authority)
        key = AttemptKey(tenant=authority.tenant, run=run, execution="", activity="", attempt=0)
        _, facts = await self._facts(authority, action, key, None, policy, text, start)
        return policy, facts, policy.evaluate(action, facts)

    async def _policy(self, authority: Authority) -> Policy:
        """Return the constitution that the authority pins, else the tenant's active one. Raises ConstitutionRefused."""
        return await self._policies.get(
            authority.constitution or await self.ledger.active_constitution(authority.tenant)
        )

    async def _facts(  # noqa: PLR0913, PLR0917 - everything that facts depend on
        self,
        authority: Authority,
        action: Action,
        key: AttemptKey,
        account: str | None,
        policy: Policy,
        text: Callable[[], Reading],
        start: StartCapsule | None,
    ) -> tuple[LedgerFacts, Facts]:
        """Return the database's facts, and the facts that the constitution and its shadow read of this action."""
        stored, reads = await self._read_ledger(authority, action, key, account, policy)
        signals = await run_detectors(detectors_for(reads), text, stored.history)
        forecast = await self._forecast(authority, start, reads)
        return stored, decision_facts(authority, stored, action, signals, forecast)

    async def _forecast(
        self, authority: Authority, start: StartCapsule | None, reads: frozenset[str]
    ) -> ForecastRange | None:
        """Return the forecast of a start, if a constitution reads it. Raises Unavailable without a forecaster."""
        if start is None or FORECAST_PATHS.isdisjoint(reads):
            return None
        if self._forecaster is None:
            raise Unavailable("The constitution reads forecasts, and this process has no forecaster.", part="forecasts")
        forecast = await self._forecaster.of(authority.tenant, start)
        return ForecastRange(
            tokens=forecast.tokens.high,
            micro_usd=forecast.micro_usd.high,
            least_tokens=forecast.tokens.low,
            least_micro_usd=forecast.micro_usd.low,
        )

    async def _shadow_verdict(
        self, shadow: Digest | None, active: Digest, action: Action, facts: Facts, ranges: Mapping[str, Range]
    ) -> ShadowVerdict | None:
        """Return the shadow's verdict about the same action, on the same facts and ranges."""

        async def evaluate(candidate: Policy) -> Verdict:
            return await self._decider(candidate).evaluate(action, facts, ranges)

        return await self._policies.evaluate_shadow(shadow, active, evaluate)

    def _decider(self, policy: Policy) -> Decider:
        known = self._deciders.get(policy.digest)
        if known is None or known.policy is not policy:
            known = self._deciders[policy.digest] = Decider(policy)
        return known

    async def _read_ledger(
        self, authority: Authority, action: Action, key: AttemptKey, account: str | None, policy: Policy
    ) -> tuple[LedgerFacts, frozenset[str]]:
        """Return the facts that the constitution or its shadow reads, and the paths of all attributes read."""

        async def ask(history: HistoryQuery) -> LedgerFacts:
            return await self.ledger.facts(authority.tenant, key.run, account, policy.digest, history)

        query = history_query(policy.reads, authority.actor, action)
        facts = await ask(query)
        reads = policy.reads | await self._policies.shadow_reads(facts.shadow)
        more = history_query(reads, authority.actor, action)
        return (facts if more == query else await ask(more)), reads

    async def _claim_start(
        self, action: Action, key: AttemptKey, authority: Authority, start: StartCapsule | None, lock: Lock | None
    ) -> str:
        """Return the first execution of a run that starts; empty for other actions. Raises as `StartClaims.claim`."""
        if action.kind != "capsule.start":
            return ""
        if self._starts is None or start is None:
            raise AuthorityRefused("This worker cannot check the start of a run, so it starts none.")
        return await self._starts.claim(start, key, authority, lock)

    def _verify(self, token: str | None, key: AttemptKey) -> Authority:
        if not token:
            raise AuthorityRefused(
                "The action came without an authority; start runs by the API, a schedule or a parent."
            )
        authority = self._verifier.verify(token)
        if not key.run.startswith(f"{authority.tenant}/"):
            raise AuthorityRefused(f"Run {key.run!r} is not of tenant {authority.tenant!r}.")
        if not authority.covers_run(key.run):
            raise AuthorityRefused(f"The authority is for run {authority.run!r}, not for {key.run!r}.")
        return authority

    def _authority(self, token: str | None, action: Action, key: AttemptKey) -> Authority:
        authority = self._verify(token, key)
        authority.check(run=key.run, kind=action.kind, target=action.target, now=int(self._clock()))
        return authority


def _raise_refusal(begun: BeginEffectResult, request: BeginEffect, constitution: Digest) -> None:
    if begun.status in {"go", "replay"}:
        return
    action, verdict = request.action, request.verdict
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
    if begun.status == "slow" and (slow := request.rate_refusal) is not None:
        if slow.seconds is None:
            raise PolicyDenied(f"{action.kind} on {action.target}: {slow.sentence}", **fields)
        raise RateLimited(
            f"{action.kind} on {action.target} waits {slow.seconds:.1f} s: {slow.sentence}",
            account=slow.account,
            retry_after=slow.seconds,
        )
    raise PolicyDenied(f"The ledger answered {begun.status!r}, which lets nothing through.", **fields)


def _shortage(cost: Amounts, left: Amounts) -> str:
    short = [
        f"{getattr(cost, d)} {d} needed, {getattr(left, d)} left"
        for d in DIMENSIONS
        if getattr(cost, d) > getattr(left, d)
    ]
    return f"The run's budget cannot cover this action: {'; '.join(short) or 'the account is closed'}. Raise it or end."
