"""Messages to the ledger for tests of the database: begun and finished effects, from what a test says of them."""

from itertools import count
from typing import Any

from capsules.actions.action import Action, Facts
from capsules.actions.ledger_messages import AttemptKey, BeginEffect, FinishEffect
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.digest import Digest, digest

DOCUMENT = {"kind": "Constitution", "metadata": {"name": "store-tests", "version": "1.0.0"}}
CONSTITUTION = digest(DOCUMENT)
_numbers = count(1)


def constitution(at: Any, *, document: dict[str, Any] = DOCUMENT) -> ConstitutionRecord:
    return ConstitutionRecord(
        digest=digest(document),
        name=document["metadata"]["name"],
        version=document["metadata"]["version"],
        document=document,
        proposed_by="store-tests",
        installed_at=at,
    )


def next_number() -> int:
    return next(_numbers)


def run_id(tenant: str) -> str:
    return f"{tenant}/word-count/{next_number()}"


def key(tenant: str, run: str, activity: str | None = None, *, attempt: int = 1) -> AttemptKey:
    return AttemptKey(tenant=tenant, run=run, execution="e1", activity=activity or f"a{next_number()}", attempt=attempt)


def begin_effect(
    attempt: AttemptKey,
    *,
    decision: str = "allow",
    cost: Amounts | None = None,
    account: str | None = None,
    idempotent: bool = True,
    target: str = "python@1.0.0/run",
    kind: str = "tool.invoke",
    actor: str = "ada",
    constitution: Digest = CONSTITUTION,
    **verdict: Any,
) -> BeginEffect:
    action = Action(
        kind=kind,
        target=target,
        idempotent=idempotent,
        cost=cost or Amounts(),
        arguments=digest({"target": target}),
    )
    return BeginEffect(
        key=attempt,
        capsule="word-count@1.0.0",
        actor=actor,
        action=action,
        action_digest=action.digest(),
        facts=Facts(),
        verdict=Verdict(
            decision=decision,
            score=612_000,
            threshold=550_000,
            sentence='S(a) is 0.612 – «Zürich» \N{SNOWMAN} "quoted" \\ and\ttabs\n.',
            constitution=constitution,
            **verdict,
        ),
        account=account,
    )


def finish_effect(attempt: AttemptKey, *, ok: bool = True, usage: Amounts | None = None, **rest: Any) -> FinishEffect:
    return FinishEffect(key=attempt, ok=ok, usage=usage or Amounts(), **rest)
