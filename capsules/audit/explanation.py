"""Run explanation: actions, decisions with their clauses, approvals, costs and results of one run.

It is built from the run's own records only. What no record says stays empty.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from capsules.approvals.approval import Approval
from capsules.audit.receipt import Receipt, verify_chain
from capsules.base_model import FrozenModel
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.runs.run import ArtifactRecord, RunRecord


class CitedClause(FrozenModel):
    """A clause that decided, with its reason as the constitution of that decision gives it."""

    id: str
    because: str = Field("", description="Empty where the constitution can no longer be read.")


class ActionDecision(FrozenModel):
    """One decision of the gate about an action."""

    seq: int
    at: datetime
    attempt: int
    decision: Literal["allow", "ask", "deny"]
    reason: str = Field(description="What decided: policy, budget, `replay`, constitution, uncertain.")
    sentence: str
    clauses: tuple[CitedClause, ...] = ()
    score: int | None = Field(None, description="S(a) in parts per million.")
    threshold: int | None = Field(None, description="θ in parts per million.")
    constitution: Digest | None = None
    approval: str | None = None
    approved_by: tuple[str, ...] = ()
    receipt: Digest


class ActionOutcome(FrozenModel):
    """Outcome of one attempt."""

    seq: int
    at: datetime
    attempt: int
    ok: bool
    error: str = ""
    usage: Amounts = Amounts()
    estimated: bool = Field(False, description="The provider gave no usage; it was counted locally.")
    result: Digest | None = None
    receipt: Digest


class ExplainedAction(FrozenModel):
    """One activity of the run, from the first decision to the last outcome."""

    activity: str
    kind: str
    target: str
    effect: str = ""
    data: str = ""
    arguments: Digest | None = Field(None, description="Digest of the arguments: receipts hold no content.")
    decisions: tuple[ActionDecision, ...] = ()
    outcomes: tuple[ActionOutcome, ...] = ()

    @property
    def word(self) -> str:
        """Return the state of the action as one word: done, failed, begun, asked or denied."""
        if self.outcomes:
            return "done" if self.outcomes[-1].ok else "failed"
        return {"allow": "begun", "ask": "asked", "deny": "denied"}[self.decisions[-1].decision]

    @property
    def usage(self) -> Amounts:
        return sum((outcome.usage for outcome in self.outcomes), Amounts())


class ClosedRun(FrozenModel):
    """The run's last receipt: how it ended, and the digests of its output and artifact."""

    seq: int
    at: datetime
    status: str
    reason: str = ""
    spent: Amounts
    output: Digest | None = None
    artifact: Digest | None = None
    receipt: Digest


class Chain(FrozenModel):
    """The state of the run's receipt chain, recomputed from the bodies."""

    receipts: int
    head: Digest | None = None
    problem: str | None = Field(None, description="The first bad receipt; empty for a whole chain.")


class RunExplanation(FrozenModel):
    """The explanation of one run."""

    run: RunRecord
    intent: str = Field("", description="The capsule's; empty where the capsule is not published here.")
    actions: tuple[ExplainedAction, ...]
    closed: ClosedRun | None = Field(None, description="Empty while the run goes on.")
    approvals: tuple[Approval, ...] = ()
    artifacts: tuple[ArtifactRecord, ...] = ()
    account: Account | None = None
    children: tuple[str, ...] = Field((), description="Runs that this one started, each with its own explanation.")
    constitutions: dict[Digest, str] = Field({}, description="Name and version of each that a decision cites.")
    chain: Chain


CLOSING = "run.close"
"""Activity name in the receipt that ends a run."""

ClauseTexts = Mapping[Digest, Mapping[str, str]]
"""Constitution digest to clause id to the clause's reason."""


def explain_actions(receipts: Iterable[Receipt], clauses: ClauseTexts) -> tuple[ExplainedAction, ...]:
    """Return the actions in a run's receipts, in the order of their first decisions.

    An action that was asked and then approved is one action, although the workflow retries it as another activity.
    """
    actions: list[dict[str, Any]] = []
    of_activity: dict[tuple[str, str], dict[str, Any]] = {}
    asked: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        if receipt.activity == CLOSING:
            continue
        key = (str(receipt.body.get("execution", "")), receipt.activity)
        action_digest = str(receipt.body.get("action_digest", ""))
        found = of_activity.get(key) or asked.pop(action_digest, None)
        if found is None:
            found = {"decisions": [], "outcomes": []}
            actions.append(found)
        of_activity[key] = found
        found["activity"] = receipt.activity
        if receipt.kind == "decision":
            found |= _action(receipt)
            decided = _decision(receipt, clauses)
            found["decisions"].append(decided)
            if decided.decision == "ask":
                asked[action_digest] = found
        else:
            found["outcomes"].append(_outcome(receipt))
    return tuple(ExplainedAction.model_validate(action) for action in actions)


def closed_run(receipts: tuple[Receipt, ...]) -> ClosedRun | None:
    """Return the content of the receipt that ends a run, or None while the run goes on."""
    if not receipts or receipts[-1].activity != CLOSING:
        return None
    last = receipts[-1]
    fields = {name: last.body.get(name) for name in ("status", "spent", "output", "artifact")}
    return ClosedRun(seq=last.seq, at=last.at, reason=last.body.get("reason") or "", receipt=last.hash, **fields)


def chain_of(receipts: tuple[Receipt, ...]) -> Chain:
    return Chain(receipts=len(receipts), head=receipts[-1].hash if receipts else None, problem=verify_chain(receipts))


def _action(receipt: Receipt) -> dict[str, Any]:
    action = receipt.body.get("action", {})
    return {name: action[name] for name in ("kind", "target", "effect", "data", "arguments") if name in action}


def _decision(receipt: Receipt, clauses: ClauseTexts) -> ActionDecision:
    body, verdict = receipt.body, receipt.body.get("verdict", {})
    constitution = verdict.get("constitution")
    reasons = clauses.get(constitution, {})
    return ActionDecision(
        seq=receipt.seq,
        at=receipt.at,
        attempt=receipt.attempt,
        decision=body["decision"],
        reason=body.get("reason", ""),
        # The database decides last (a spent budget, a revoked constitution), so its sentence comes first.
        sentence=body.get("why") or verdict.get("sentence", ""),
        clauses=tuple(CitedClause(id=name, because=reasons.get(name, "")) for name in verdict.get("clauses", ())),
        score=verdict.get("score"),
        threshold=verdict.get("threshold"),
        constitution=constitution,
        approval=body.get("approval"),
        approved_by=tuple(_approvers(body)),
        receipt=receipt.hash,
    )


def _approvers(body: dict[str, Any]) -> Iterable[str]:
    for one in body.get("approvers") or ():
        lent = one.get("on_behalf_of")
        yield f"{one['by']} for {lent}" if lent else one["by"]


def _outcome(receipt: Receipt) -> ActionOutcome:
    body = receipt.body
    return ActionOutcome(
        seq=receipt.seq,
        at=receipt.at,
        attempt=receipt.attempt,
        ok=bool(body.get("ok")),
        error=body.get("error") or "",
        usage=Amounts.model_validate(body.get("usage") or {}),
        estimated=bool(body.get("estimated")),
        result=body.get("result"),
        receipt=receipt.hash,
    )
