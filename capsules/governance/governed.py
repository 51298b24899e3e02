"""Activity marker `@governed`: declares the action of an activity of a governed application.

A marked function refuses to run outside the activity context of the gate, so a worker without the plugin has no effect.
An attribute that is not given has its most dangerous value.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from capsules.actions.action import Action, ActionKind, DataClass, Effect, Egress
from capsules.actions.activity_context import current_context
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest

MARK = "__somagent_governed__"
ONE_CALL = Amounts(tool_calls=1)


@dataclass(frozen=True)
class Governed:
    """Declaration of a marked activity. `action`, when given, computes the whole action from the arguments."""

    kind: ActionKind
    target: str | None
    effect: Effect
    reversible: bool
    egress: Egress
    data: DataClass
    idempotent: bool
    cost: Amounts | Callable[..., Amounts]
    action: Callable[..., Action] | None

    def to_action(self, args: Sequence[Any], *, target: str, arguments: Digest) -> Action:
        """Return the action of one call. `arguments` is the digest of the whole input, whatever `action` says."""
        if self.action is not None:
            return self.action(*args).model_copy(update={"arguments": arguments})
        return Action(
            kind=self.kind,
            target=self.target or target,
            effect=self.effect,
            reversible=self.reversible,
            egress=self.egress,
            data=self.data,
            idempotent=self.idempotent,
            cost=self.cost if isinstance(self.cost, Amounts) else self.cost(*args),
            arguments=arguments,
        )


def governed[F: Callable[..., Any]](  # noqa: PLR0913 - one keyword for each attribute of an action
    *,
    effect: Effect = "destructive",
    reversible: bool = False,
    egress: Egress = "open",
    data: DataClass = "secret",
    idempotent: bool = False,
    cost: Amounts | Callable[..., Amounts] = ONE_CALL,
    kind: ActionKind = "tool.invoke",
    target: str | None = None,
    action: Callable[..., Action] | None = None,
) -> Callable[[F], F]:
    """Mark an activity, above or below `@activity.defn`.

    cost: what one call uses at most, or a function from the activity's arguments to it.
    target: unset, it is `<application>/<activity type>`.
    action: a pure function from the activity's arguments to the whole action, in place of all the others.
    """
    if kind == "capsule.start":
        raise ValueError("'capsule.start' admits runs of ours; mark an activity with another kind.")
    declared = Governed(kind, target, effect, reversible, egress, data, idempotent, cost, action)

    def mark(function: F) -> F:
        guarded = _guard_async(function) if inspect.iscoroutinefunction(function) else _guard(function)
        setattr(guarded, MARK, declared)
        return guarded  # type: ignore[return-value] # called exactly as `function` is

    return mark


def marker_of(function: Callable[..., Any]) -> Governed | None:
    """Return what an activity declares, or None when it is not marked."""
    found = getattr(function, MARK, None)
    return found if isinstance(found, Governed) else None


def _guard_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def guarded(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the activity takes and returns
        current_context()
        return await function(*args, **named)

    return guarded


def _guard(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the activity takes and returns
        current_context()
        return function(*args, **named)

    return guarded
