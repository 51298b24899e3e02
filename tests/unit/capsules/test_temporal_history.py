"""Histories against receipts: the recorded histories of real runs, and what is no history. No invented runs."""

import copy
import json
from typing import Any, get_args

import pytest
from sources import ROOT

from capsules.actions.action import ActionKind
from capsules.audit.auditor import VerificationError
from capsules.audit.receipt import Receipt
from capsules.audit.temporal_history import completed_results, match_history
from capsules.digest import GENESIS
from capsules.errors import Invalid

RECORDED = ROOT / "tests" / "histories" / "0.1.0" / "utility.json"


@pytest.fixture
def history() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(RECORDED.read_text())["history"]
    return json.loads(recorded) if isinstance(recorded, str) else recorded


def started(history: dict[str, Any]) -> str:
    return str(history["events"][0]["workflowExecutionStartedEventAttributes"]["originalExecutionRunId"])


def allows(history: dict[str, Any]) -> list[Receipt]:
    """The receipts that such a run has: one allow for each governed activity."""
    scheduled = [
        event["activityTaskScheduledEventAttributes"]
        for event in history["events"]
        if event.get("activityTaskScheduledEventAttributes", {}).get("activityType", {}).get("name")
        in get_args(ActionKind)
    ]
    assert scheduled, "the recorded run did something"
    return [receipt(n + 1, str(one["activityId"]), started(history)) for n, one in enumerate(scheduled)]


def receipt(seq: int, activity: str, execution: str, *, decision: str = "allow", attempt: int = 1) -> Receipt:
    return Receipt(
        run="acme/x/1",
        seq=seq,
        at="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        kind="decision",
        activity=activity,
        attempt=attempt,
        body={"execution": execution, "decision": decision, "activity": activity},
        previous=GENESIS,
        hash=GENESIS,
    )


def check(history: dict[str, Any], receipts: list[Receipt]) -> int:
    """Match them; the recorded results are from before they were bound to their run."""
    results = dict.fromkeys(completed_results(history))
    return match_history(history, receipts, get_args(ActionKind), results).activities


def test_each_governed_activity_has_its_one_allow(history: dict[str, Any]) -> None:
    receipts = allows(history)
    assert check(history, receipts) == len(receipts)
    elsewhere = receipt(9, "1", "another-execution")
    assert check(history, [*receipts, elsewhere]) == len(receipts), "of another execution of the run"
    for gone in receipts:
        with pytest.raises(VerificationError, match=f"Activity '{gone.activity}'.* no receipt let it begin"):
            check(history, [one for one in receipts if one != gone])


def test_an_allow_that_nothing_used_and_one_too_many_are_named(history: dict[str, Any]) -> None:
    receipts = allows(history)
    with pytest.raises(VerificationError, match="Receipt 90 let attempt 1 of activity '777' begin"):
        check(history, [*receipts, receipt(90, "777", started(history))])
    with pytest.raises(VerificationError, match="Receipt 91 let attempt 2 of"):
        check(history, [*receipts, receipt(91, receipts[0].activity, started(history), attempt=2)])
    with pytest.raises(VerificationError, match="was let begin 2 times in attempt 1"):
        check(history, [*receipts, receipts[0]])
    assert check(history, [*receipts, receipt(92, "778", started(history), decision="deny")]) == len(receipts)


def test_an_activity_under_way_may_have_used_its_allow(history: dict[str, Any]) -> None:
    receipts = allows(history)
    cut = copy.deepcopy(history)
    last = max(
        int(event["eventId"]) for event in cut["events"] if "activityTaskScheduledEventAttributes" in event
        and str(event["activityTaskScheduledEventAttributes"]["activityId"]) == receipts[-1].activity
    )  # fmt: skip
    cut["events"] = [event for event in cut["events"] if int(event["eventId"]) <= last]
    assert check(cut, receipts) == len(receipts)


@pytest.mark.parametrize("text", [{}, {"events": []}, {"events": "x"}])
def test_what_is_no_history_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no Temporal history"):
        check(text, [])


def test_a_history_without_its_beginning_is_refused(history: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no beginning"):
        check({"events": history["events"][1:]}, [])


def outcome(of: Receipt, result: str, *, ok: bool = True) -> Receipt:
    body = {"execution": of.body["execution"], "activity": of.activity, "ok": ok, "result": result}
    return of.model_copy(update={"kind": "outcome", "seq": 100 + of.seq, "body": body})


def test_each_result_is_that_of_its_outcome_receipt(history: dict[str, Any]) -> None:
    begun = allows(history)
    results = {activity: f"sha256:{activity:0>64}" for activity in completed_results(history)}
    receipts = [*begun, *(outcome(one, results[one.activity]) for one in begun)]

    def match(receipts: list[Receipt], results: dict[str, str]) -> None:
        match_history(history, receipts, get_args(ActionKind), results)  # type: ignore[arg-type]

    match(receipts, results)
    first = begun[0]
    with pytest.raises(VerificationError, match=f"Activity '{first.activity}'.* which no outcome receipt has"):
        match(receipts, results | {first.activity: f"sha256:{'f' * 64}"})
    with pytest.raises(VerificationError, match=f"Activity '{first.activity}'.* which no outcome receipt has"):
        match([*begun, outcome(first, results[first.activity], ok=False), *receipts[len(begun) + 1 :]], results)
    for activity in results:
        with pytest.raises(VerificationError, match=f"Activity '{activity}'.* no worker of this platform wrote"):
            match(receipts, {name: digest for name, digest in results.items() if name != activity})
