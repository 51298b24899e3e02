"""Policy interceptor: lets the gate check every activity of every worker before it runs.

1. An activity without an authority for exactly this call is refused: see `policy.activity_authority`.
2. A platform activity (an explicit list, such as writes of a run's state to our own database) passes.
3. A governed activity declares a pure function from its input to an `Action`. The gate evaluates that action, and the
   ledger stores verdict, grant and reservation before the effect.
4. Any other activity is refused.

The outcome is settled and recorded before Temporal hears of it, so a retry finds it and does not repeat the effect.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import structlog
from opentelemetry import trace
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from capsules.actions.action import Action
from capsules.actions.activity_context import ActivityContext, activity_context
from capsules.actions.headers import AUTHORITY
from capsules.actions.ledger_messages import AttemptKey, FinishEffect, FinishEffectResult
from capsules.actions.verdict import Acknowledgement, Outcome
from capsules.budgets.amounts import Amounts
from capsules.errors import SomaError, Unavailable, UngovernedActivity
from capsules.runs.lock import Lock
from capsules.runs.run import StartCapsule
from capsules.tools.tool import ToolRequest
from policy.activity_authority import ActivityAuthority
from policy.detectors.argument_text import read
from policy.gate import AllowedAttempt, Gate
from policy.temporal_errors import to_failure

ToAction = Callable[[Any], Action]
FromLock = Callable[[Any, Lock | None], Any]
HEARTBEAT_SECONDS = 2.0
RECORD_PATIENCE_SECONDS = 60.0
log = structlog.get_logger(__name__)


class PolicyInterceptor(Interceptor):
    """Checks every activity before it runs. `governed`, `platform` and `locked` are by activity type name.

    locked: for types whose arguments name definitions, the function that reads these from the run's lock.
    """

    def __init__(
        self,
        gate: Gate,
        authorities: ActivityAuthority,
        *,
        governed: Mapping[str, ToAction],
        platform: frozenset[str],
        locked: Mapping[str, FromLock] | None = None,
    ) -> None:
        both = platform & governed.keys()
        if both:
            raise ValueError(f"{sorted(both)} are declared both governed and platform")
        self._gate = gate
        self._authorities = authorities
        self._governed = governed
        self._platform = platform
        self._locked = locked or {}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Inbound(next, self._gate, self._authorities, self._governed, self._platform, self._locked)


class GatedInbound(ActivityInboundInterceptor):
    """Runs one activity behind the gate. A subclass gives its action, and may give the result and usage of its body."""

    def __init__(self, next: ActivityInboundInterceptor, gate: Gate) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._gate = gate

    async def govern(
        self,
        input: ExecuteActivityInput,  # noqa: A002
        action: Action,
        *,
        key: AttemptKey,
        token: str | None,
        lock: Lock | None = None,
    ) -> Outcome[Any]:
        """Evaluate the action, run the body once, settle and record. A retry returns the recorded outcome.

        Raises as `Gate.enter` does before the body. An error of the body is recorded and raised.
        """
        argument = input.args[0] if input.args else None
        entered = await self._gate.enter(
            token=token,
            action=action,
            key=key,
            text=lambda: read(*self.arguments(input)),
            start=argument if isinstance(argument, StartCapsule) else None,
            lock=lock,
            call=argument if isinstance(argument, ToolRequest) else None,
        )
        trace.get_current_span().set_attributes(
            {"somagent.decision": entered.verdict.decision, "somagent.score": entered.verdict.score}
        )
        if entered.begun.status == "replay":
            return _outcome(Outcome(value=entered.begun.result), entered, None)
        # Until the outcome is recorded: without heartbeats, Temporal would give the attempt to another worker.
        async with self.heartbeats():
            return await self._perform(input, entered)

    async def body(self, input: ExecuteActivityInput) -> Outcome[Any]:  # noqa: A002
        """Run the activity's own code. Our activities return an Outcome."""
        outcome: Outcome[Any] = await self.next.execute_activity(input)
        return outcome

    def arguments(self, input: ExecuteActivityInput) -> Sequence[Any]:  # noqa: A002
        """Return the arguments that detectors read."""
        return input.args

    def usage_of(self, error: Exception) -> Amounts | None:
        """Return the usage of a failed body, or None if it is unknown."""
        fields = error.fields if isinstance(error, SomaError) else {}
        return Amounts.model_validate(fields["usage"]) if "usage" in fields else None

    def heartbeats(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Send heartbeats while the body runs."""
        return _heartbeats()

    async def _perform(self, input: ExecuteActivityInput, entered: AllowedAttempt) -> Outcome[Any]:  # noqa: A002
        key = entered.context.key
        try:
            with activity_context(entered.context):
                outcome = await self.body(input)
        except asyncio.CancelledError:
            # Otherwise (this worker stops, another attempt took over) the effect stays open: the next attempt sees that
            # it may have happened.
            if _cancelled_by_its_run():
                await asyncio.shield(
                    self._record(entered, FinishEffect(key=key, ok=False, usage=Amounts(), error="Cancelled"))
                )
            raise
        except Exception as error:
            await self._record(entered, _failure(key, error, self.usage_of(error)))
            raise
        result = (
            outcome.value.model_dump(mode="json", by_alias=True)
            if hasattr(outcome.value, "model_dump")
            else outcome.value
        )
        settled = await asyncio.shield(
            self._record(
                entered, FinishEffect(key=key, ok=True, usage=outcome.usage, estimated=outcome.estimated, result=result)
            )
        )
        for clean_up in entered.context.after_settling:
            await clean_up()
        return _outcome(outcome, entered, settled)

    async def _record(self, entered: AllowedAttempt, outcome: FinishEffect) -> FinishEffectResult:
        """Record the outcome, with retries: an effect that happened must not stay unrecorded."""
        deadline = time.monotonic() + RECORD_PATIENCE_SECONDS
        while True:
            try:
                return await self._gate.leave(entered, outcome)
            except Unavailable as error:
                if time.monotonic() > deadline:
                    raise
                log.warning(
                    "outcome.not_recorded", run=outcome.key.run, activity=outcome.key.activity, problem=str(error)
                )
                await asyncio.sleep(0.5)


class _Inbound(GatedInbound):
    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the interceptor
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 - the SDK's name
        gate: Gate,
        authorities: ActivityAuthority,
        governed: Mapping[str, ToAction],
        platform: frozenset[str],
        locked: Mapping[str, FromLock],
    ) -> None:
        super().__init__(next, gate)
        self._authorities = authorities
        self._governed = governed
        self._platform = platform
        self._locked = locked

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        info = activity.info()
        kind = info.activity_type
        try:
            key = self._authorities.attempt(info)
            call = self._authorities.call(input.headers.get(AUTHORITY), info)
            if kind in self._platform:
                authority = await self._authorities.identify(call.authority, info)
                with activity_context(ActivityContext(authority=authority, key=key)):
                    result = await super().execute_activity(input)
                # A run from before calls had ids reads the result as None.
                return Acknowledgement(effect=key.effect) if result is None and call.activity else result
            to_action = self._governed.get(kind)
            if to_action is None:
                raise UngovernedActivity(
                    f"Activity {kind!r} is neither governed nor on the platform's list; it does not run."
                )
            await self._authorities.check_chain(call.authority, info)
            token, argument, lock = call.authority, input.args[0], None
            if (from_lock := self._locked.get(kind)) is not None:
                # The definitions are the platform's copies: an argument only names them.
                lock = await self._gate.lock(token, key)
                argument = from_lock(argument, lock)
            return await self.govern(input, to_action(argument), key=key, token=token, lock=lock)
        except SomaError as error:
            # Without its causes: Temporal keeps 4 KB of a waiting activity's failure and drops a longer one whole.
            raise to_failure(error) from None


def _failure(key: AttemptKey, error: Exception, used: Amounts | None) -> FinishEffect:
    code = error.code if isinstance(error, SomaError) else type(error).__name__
    return FinishEffect(
        key=key, ok=False, usage=used or Amounts(), estimated=used is not None, error=f"{code}: {error}"[:2000]
    )


def _outcome(outcome: Outcome[Any], entered: AllowedAttempt, settled: FinishEffectResult | None) -> Outcome[Any]:
    return outcome.model_copy(
        update={
            "score": entered.verdict.score,
            "sentence": entered.verdict.sentence,
            "effect": entered.context.key.effect,
            "receipt": settled.receipt if settled else entered.begun.receipt,
            "left": settled.left if settled else entered.begun.left,
        }
    )


@contextlib.asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Send heartbeats, so that a cancellation and a lost worker are detected."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


def _cancelled_by_its_run() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


def governed_types(*pairs: tuple[str, ToAction]) -> Mapping[str, ToAction]:
    """Return the mapping of governed types. Raises ValueError when a type is declared twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"governed twice: {sorted({n for n in names if names.count(n) > 1})}")
    return dict(pairs)
