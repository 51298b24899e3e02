"""Comparison of a run's Temporal history with its receipts: every governed activity was allowed, every allow was used.

The history is what `temporal workflow show --output json` and the SDK's `to_json` write, for one workflow execution. An
attempt that died before it asked the gate had no effect and has no receipt; a completed one must have a receipt, and an
outcome receipt with the digest of the result that the history shows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from capsules.audit.auditor import VerificationError
from capsules.audit.receipt import Receipt
from capsules.digest import Digest
from capsules.errors import Invalid

SCHEDULED = "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"
STARTED = "EVENT_TYPE_ACTIVITY_TASK_STARTED"
COMPLETED = "EVENT_TYPE_ACTIVITY_TASK_COMPLETED"
ENDED = (
    COMPLETED,
    "EVENT_TYPE_ACTIVITY_TASK_FAILED",
    "EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT",
    "EVENT_TYPE_ACTIVITY_TASK_CANCELED",
)
BEGUN = "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"


ResultDigests = Mapping[str, Digest | None]
"""Digest of each authentic result by activity id; None for a result from before payloads were bound to their run."""


class HistoryActivity(NamedTuple):
    """One activity of a history."""

    id: str
    type: str
    attempts: int | None
    """The number of its last attempt; None while it has not ended, since Temporal writes that down at the end."""
    completed: bool


class HistoryMatch(NamedTuple):
    """Result of `match_history`."""

    execution: str
    activities: int
    """Governed activities of the history."""
    allows: int
    """Receipts that let one begin."""


def match_history(
    history: dict[str, Any], receipts: Iterable[Receipt], governed: Collection[str], results: ResultDigests
) -> HistoryMatch:
    """Match a history with its run's receipts.

    governed: the activity types that must ask the gate.
    results: of the completed activities, as the keys of the platform show them.
    Raises VerificationError with the first activity or receipt that has no counterpart, Invalid for what is no history.
    """
    execution, performed = _read(history)
    own = [receipt for receipt in receipts if receipt.body.get("execution") == execution]
    decisions = [receipt for receipt in own if receipt.kind == "decision"]
    outcomes = {(r.activity, r.body.get("result")) for r in own if r.kind == "outcome" and r.body.get("ok")}
    asked = {receipt.activity for receipt in decisions}
    activities = [one for one in performed if one.type in governed or one.id in asked]
    allows = Counter((r.activity, r.attempt) for r in decisions if r.body.get("decision") == "allow")
    for one in activities:
        _check_activity(one, allows)
    for one in performed:
        if one.completed:
            _check_result(one, results, outcomes if one in activities else None)
    attempts = {one.id: one.attempts for one in performed}
    for receipt in decisions:
        last = attempts.get(receipt.activity, 0)
        if receipt.body.get("decision") == "allow" and last is not None and receipt.attempt > last:
            raise VerificationError(
                f"Receipt {receipt.seq} let attempt {receipt.attempt} of activity {receipt.activity!r} begin, and the "
                "history has no such attempt: it was removed, or the receipt is of another history."
            )
    return HistoryMatch(execution=execution, activities=len(activities), allows=sum(allows.values()))


def _check_activity(one: HistoryActivity, allows: Counter[tuple[str, int]]) -> None:
    name = f"Activity {one.id!r} ({one.type})"
    for (activity, attempt), times in allows.items():
        if activity == one.id and times > 1:
            raise VerificationError(f"{name} was let begin {times} times in attempt {attempt}.")
    if one.completed and not allows[one.id, one.attempts or 0]:
        raise VerificationError(
            f"{name} completed in attempt {one.attempts}, and no receipt let it begin: it passed no gate."
        )


def _check_result(one: HistoryActivity, results: ResultDigests, outcomes: Collection[tuple[str, Any]] | None) -> None:
    """Raise VerificationError unless a worker wrote the result and an outcome receipt has it. None: it needs none."""
    name = f"Activity {one.id!r} ({one.type})"
    if one.id not in results:
        raise VerificationError(f"{name} completed with a result that no worker of this platform wrote.")
    digest = results[one.id]
    if digest is not None and outcomes is not None and (one.id, digest) not in outcomes:
        raise VerificationError(f"{name} completed with a result of digest {digest}, which no outcome receipt has.")


def completed_results(history: dict[str, Any]) -> dict[str, Any]:
    """Return the result payload of each completed activity of a history, in Temporal's JSON, by activity id."""
    ids, found = {}, {}
    for event in _events(history):
        attributes = _attributes(event)
        if event.get("eventType") == SCHEDULED:
            ids[event["eventId"]] = attributes["activityId"]
        elif event.get("eventType") == COMPLETED:
            payloads = attributes.get("result", {}).get("payloads", [])
            if len(payloads) == 1 and attributes.get("scheduledEventId") in ids:
                found[ids[attributes["scheduledEventId"]]] = payloads[0]
    return found


def _read(history: dict[str, Any]) -> tuple[str, list[HistoryActivity]]:
    """Return the execution's id and its activities in the order they were scheduled."""
    execution = ""
    scheduled: dict[str, dict[str, Any]] = {}
    for event in _events(history):
        kind = event.get("eventType")
        if kind == BEGUN:
            execution = _attributes(event).get("originalExecutionRunId", "")
        elif kind == SCHEDULED:
            scheduled[event["eventId"]] = {**_attributes(event), "attempts": None, "completed": False}
        elif kind in {STARTED, *ENDED}:
            found = scheduled.get(_attributes(event).get("scheduledEventId", ""))
            if found is None:
                raise VerificationError(
                    f"Event {event['eventId']} of the history is of an activity that was never scheduled."
                )
            if kind == STARTED:
                found["attempts"] = int(_attributes(event).get("attempt", 1))
            else:
                found["completed"] = kind == COMPLETED
                found["attempts"] = found["attempts"] or 0
    if not execution:
        raise Invalid("This history has no beginning: export all of it, from its first event.")
    return execution, [
        HistoryActivity(found["activityId"], found["activityType"]["name"], found["attempts"], found["completed"])
        for found in scheduled.values()
    ]


def _events(history: dict[str, Any]) -> list[dict[str, Any]]:
    events = history.get("events")
    if not isinstance(events, list) or not events:
        raise Invalid("This is no Temporal history: it has no `events`. Use `temporal workflow show --output json`.")
    return events


def _attributes(event: dict[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventAttributes")), {})
