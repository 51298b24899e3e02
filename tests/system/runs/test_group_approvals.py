"""Several people decide whole runs: quorums over roles, later groups, edits, delegations, many at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from approver_groups import ApproverGroups, approver_groups_in
from capsule_texts import thinker, utility
from client_cli import somagent
from platforms import Platform
from servers import eventually
from sqlalchemy import select
from temporalio.worker import Replayer

from capsules.audit.receipt import Receipt, verify_chain
from somagent.cli.exit_codes import Code
from somagent.db.database import open_database
from somagent.db.schema.tables import content_blobs
from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect, somagent_plugin
from workflows.authority_interceptor import WORKFLOWS, AuthorityInterceptor

PRINTS = "print('{\"done\": true}')"
DECIDES = "approval:decide"
ASKERS: dict[str, dict[str, Any]] = {
    "roles": {
        "roles": [{"capability": "approval:security", "quorum": 2}, {"capability": "approval:finance"}],
    },
    "late": {
        "expires": "1h",
        "escalate": [{"after": "2s", "capability": "approval:lead"}, {"after": "4s", "capability": "approval:board"}],
    },
    "hasty": {"expires": "3s", "escalate": [{"after": "1s", "capability": "approval:lead"}]},
    "pairs": {"quorum": 2},
    "plain": {},
}
DECIDERS = {
    "sam": {"approval:security"},
    "sue": {"approval:security", "approval:finance"},
    "ann": {DECIDES},
    "ben": {DECIDES},
    "cem": {DECIDES},
    "lea": {"approval:lead"},
    "bo": {"approval:board"},
    "dee": set(),
}


@pytest.fixture(scope="module")
async def groups(platform: Platform) -> AsyncIterator[ApproverGroups]:
    async with approver_groups_in(platform, "groups", askers=ASKERS, deciders=DECIDERS) as made:
        for name in ASKERS:
            await made.asking_as("plain").publish(utility(f"asks-{name}", PRINTS))
        yield made


async def start_waiting_run(groups: ApproverGroups, asker: str) -> tuple[Platform, str, str]:
    """Start a run of this asker; return who watches it, the run and its waiting approval."""
    seen = groups.asking_as(asker)
    run = await seen.start(f"asks-{asker}@1.0.0", {})
    return seen, run, await wait_for_approval(seen, run)


async def wait_for_approval(seen: Platform, run: str) -> str:
    async def asks() -> None:
        assert (await seen.show(run))["status"] == "awaiting_approval"
        assert await approvals(seen, run)

    await eventually(asks, seconds=60)
    [found] = await approvals(seen, run)
    return str(found["id"])


async def approvals(seen: Platform, run: str, state: str = "pending") -> list[dict[str, Any]]:
    found = await seen.operator.get("/v1/approvals", params={"run": run, "state": state})
    items: list[dict[str, Any]] = found.json()["items"]
    return items


async def decisions(seen: Platform, run: str) -> list[dict[str, Any]]:
    """Return the receipts of the run's tool decisions, after checking the whole chain."""
    receipts = await seen.receipts(run)
    assert verify_chain([Receipt.model_validate(r) for r in receipts]) is None
    return [r["body"] for r in receipts if r["body"].get("action", {}).get("kind") == "tool.invoke"]


async def event_types(seen: Platform, run: str) -> list[str]:
    async with seen.operator.stream("GET", f"/v1/runs/{quote(run, safe='')}/events") as answer:
        text = (await answer.aread()).decode()
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


async def await_event(seen: Platform, run: str, kind: str) -> None:
    """Follow a run's events until one of this kind comes."""
    async with asyncio.timeout(20), seen.operator.stream("GET", f"/v1/runs/{quote(run, safe='')}/events") as answer:
        async for line in answer.aiter_lines():
            if line == f"event: {kind}":
                return


async def test_two_of_one_role_and_one_of_another(groups: ApproverGroups) -> None:
    seen, run, approval = await start_waiting_run(groups, "roles")
    first = await groups.say("sam", approval, comment="The network is off.")
    assert (first.status_code, first.json()["state"]) == (200, "pending"), first.text
    assert [(d["capability"], d["quorum"]) for d in first.json()["missing"]] == [
        ("approval:security", 1),
        ("approval:finance", 1),
    ]
    shown = await groups.show("sue", approval)
    assert [d["subject"] for d in shown["deciders"]] == ["sue"]
    for name, why in (("sam", "approved already"), ("ann", "lacks the capability"), ("roles", "Separation of duties")):
        refused = await groups.say(name, approval)
        assert (refused.status_code, refused.json()["code"]) == (403, "Denied")
        assert why in refused.json()["detail"]
    assert (await seen.show(run))["status"] == "awaiting_approval"
    assert (await groups.say("sue", approval)).json()["state"] in {"approved", "used"}
    ended = await seen.until(run)
    assert (ended["status"], ended["output"]) == ("completed", {"done": True})
    asked, allowed = await decisions(seen, run)
    assert (asked["decision"], allowed["decision"], allowed["approval"]) == ("ask", "allow", approval)
    assert [a["by"] for a in allowed["approvers"]] == ["sam", "sue"]
    [used] = await approvals(seen, run, "used")
    assert [(a["by"], a["said"], a["comment"]) for a in used["answers"]] == [
        ("sam", "yes", "The network is off."),
        ("sue", "yes", ""),
    ]


async def test_two_who_give_the_last_yes_at_once_both_end_well(groups: ApproverGroups) -> None:
    seen, run, approval = await start_waiting_run(groups, "pairs")
    assert (await groups.say("ann", approval)).json()["state"] == "pending"
    answers = await asyncio.gather(*(groups.say(name, approval) for name in ("ben", "cem")))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] in {"approved", "used"}
        assert len(answer.json()["answers"]) == 2
    assert (await seen.until(run))["status"] == "completed"
    late = await groups.say("cem" if answers[0].json()["decided_by"] == "ben" else "ben", approval)
    assert (late.status_code, late.json()["code"]) == (409, "Conflict")


async def test_nobody_decides_so_the_next_group_may(groups: ApproverGroups) -> None:
    seen, run, approval = await start_waiting_run(groups, "late")
    early = await groups.say("lea", approval)
    assert early.status_code == 403, "her moment has not come"
    asked = await groups.show("ann", approval)
    assert [g["capability"] for g in asked["escalation"]] == ["approval:lead", "approval:board"]
    assert {d["subject"] for d in asked["deciders"]} == {"ann", "ben", "cem"}

    async def lead_is_asked() -> None:
        shown = await groups.show("lea", approval)
        assert ("lea", True) in {(d["subject"], d["escalated"]) for d in shown["deciders"]}

    await eventually(lead_is_asked, seconds=10)
    # She may answer from that moment on; the run tells a moment later, and not at all when she was quicker.
    await await_event(seen, run, "approval.escalated")
    approved = await groups.say("lea", approval, comment="They are at lunch.")
    assert approved.status_code == 200, approved.text
    assert approved.json()["answers"][0]["escalated"]
    ended = await seen.until(run)
    assert ended["status"] == "completed", ended["reason"]


async def test_nobody_at_all_decides_so_it_expires_and_the_run_says_who_was_asked(groups: ApproverGroups) -> None:
    began = time.monotonic()
    seen, run, approval = await start_waiting_run(groups, "hasty")
    ended = await seen.until(run, seconds=30)
    assert time.monotonic() - began < 25
    assert ended["status"] == "failed"
    for words in ("nobody decided in time", "1 with 'approval:decide'", "on 'approval:lead'"):
        assert words in ended["reason"]
    assert (await groups.show("ann", approval))["state"] == "expired"
    kinds = [kind for kind in await event_types(seen, run) if kind.startswith("approval.")]
    assert kinds == ["approval.requested", "approval.escalated", "approval.expired"]
    late = await groups.say("ann", approval)
    assert (late.status_code, late.json()["code"]) == (409, "Conflict")


async def test_an_edited_call_runs_as_edited_and_the_receipts_show_both(groups: ApproverGroups) -> None:
    seen, run, approval = await start_waiting_run(groups, "plain")
    waits = await groups.people["ann"].get(f"/v1/approvals/{approval}/arguments")
    assert waits.json() == {"target": "python@1.0.0/run", "arguments": {"code": f"{PRINTS}\n", "input": {}}}, waits.text
    code = 'print(\'{"done": "differently"}\')'
    wrong = await groups.say("ann", approval, "edit", arguments={"code": 7, "sudo": True})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "Invalid"), wrong.text
    assert {p["path"] for p in wrong.json()["problems"]} == {"body.arguments", "body.arguments.code"}
    same = await groups.say("ann", approval, "edit", arguments=waits.json()["arguments"])
    assert (same.status_code, "same as before" in same.text) == (409, True)
    own = await groups.say("plain", approval, "edit", arguments={"code": code})
    assert own.status_code == 403
    edited = await groups.say("ann", approval, "edit", arguments={"code": code}, comment="Like this.")
    assert (edited.status_code, edited.json()["state"]) == (200, "edited"), edited.text
    ended = await seen.until(run)
    assert (ended["status"], ended["output"]) == ("completed", {"done": "differently"}), ended["reason"]
    asked, allowed = await decisions(seen, run)
    assert asked["action_digest"] != allowed["action_digest"]
    assert (allowed["decision"], [a["by"] for a in allowed["approvers"]]) == ("allow", ["ann"])
    [edit] = [r["body"] for r in await seen.receipts(run) if r["activity"] == "approval.edit"]
    assert (edit["action_digest"], edit["edited_to"]) == (asked["action_digest"], allowed["action_digest"])
    assert (edit["edited_by"], edit["comment"]) == ("ann", "Like this.")
    [used] = await approvals(seen, run, "used")
    assert used["edited_from"] == approval


async def test_a_persona_is_told_that_a_person_changed_the_arguments(groups: ApproverGroups) -> None:
    steps = '[{id: look, use: python/run, with: {code: "print(1)"}}, {id: choose, think: "Which colour has the sky?"}]'
    seen = groups.asking_as("plain")
    run = await seen.start(await seen.publish(thinker("looks-first", steps=steps)), {})
    approval = await wait_for_approval(seen, run)
    assert (await groups.say("ann", approval, "edit", arguments={"code": "print(20 + 22)"})).status_code == 200
    ended = await seen.until(run)
    assert ended["status"] == "completed", ended["reason"]
    note = "A person changed the arguments of python@1.0.0/run before it ran."
    async with open_database(seen.settings.database("app")) as db, db.transaction(groups.tenant) as tx:
        kept = select(content_blobs.c.data).where(content_blobs.c.data.contains(note.encode()))
        [said] = {bytes(row.data) for row in (await tx.connection.execute(kept)).all()}
    assert b"print(20 + 22)" in said


async def test_where_two_must_approve_an_edit_still_needs_the_second(groups: ApproverGroups) -> None:
    seen, run, approval = await start_waiting_run(groups, "pairs")
    code = 'print(\'{"done": "by two"}\')'
    assert (await groups.say("ann", approval, "edit", arguments={"code": code})).status_code == 200

    async def asked_again() -> None:
        assert [a["edited_from"] for a in await approvals(seen, run)] == [approval]
        assert (await seen.show(run))["status"] == "awaiting_approval"

    await eventually(asked_again, seconds=20)
    [again] = await approvals(seen, run)
    assert (again["missing"], [a["by"] for a in again["answers"]]) == ([{"capability": DECIDES, "quorum": 1}], ["ann"])
    assert (await groups.say("ann", again["id"])).status_code == 403
    assert (await groups.say("ben", again["id"])).status_code == 200
    assert (await seen.until(run))["output"] == {"done": "by two"}


async def test_a_delegate_approves_in_the_owners_name(groups: ApproverGroups) -> None:
    lent = await groups.people["ann"].post(
        "/v1/delegations", json={"capability": DECIDES, "to": "dee", "seconds": "1h"}
    )
    assert lent.status_code == 201, lent.text
    beyond = await groups.people["dee"].post("/v1/delegations", json={"capability": DECIDES, "to": "sam"})
    assert (beyond.status_code, beyond.json()["code"]) == (403, "Denied")
    seen, run, approval = await start_waiting_run(groups, "plain")
    assert ("dee", "ann") in {
        (d["subject"], d["on_behalf_of"]) for d in (await groups.show("dee", approval))["deciders"]
    }
    done = await groups.say("dee", approval)
    assert done.status_code == 200, done.text
    assert [(a["by"], a["on_behalf_of"]) for a in done.json()["answers"]] == [("dee", "ann")]
    assert (await seen.until(run))["status"] == "completed"
    taken = await groups.people["ann"].delete(f"/v1/delegations/{lent.json()['id']}")
    assert taken.json()["state"] == "revoked"
    seen, run, approval = await start_waiting_run(groups, "plain")
    assert (await groups.say("dee", approval, on_behalf_of="ann")).status_code == 403
    await seen.tell(run, "cancel")


async def test_many_are_decided_each_on_its_own(groups: ApproverGroups) -> None:
    several = [await start_waiting_run(groups, asker) for asker in ("plain", "plain", "roles")]
    ids = [approval for _, _, approval in several]
    items = [{"approval": id_, "approve": number != 1} for number, id_ in enumerate(ids)]
    items.append({"approval": "unknown", "approve": True})
    answer = await groups.people["ann"].post("/v1/approvals/decide", json={"decisions": items})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [(r["approval"], r["done"]) for r in results] == [
        (ids[0], True),
        (ids[1], True),
        (ids[2], False),
        ("unknown", False),
    ]
    assert [r["problem"]["code"] for r in results[2:]] == ["Denied", "NotFound"]
    ends = [await seen.until(run, "awaiting_approval") for seen, run, _ in several]
    assert [e["status"] for e in (ends[1], ends[2])] == ["failed", "awaiting_approval"]
    assert (await several[0][0].until(several[0][1]))["status"] == "completed"
    await several[2][0].tell(several[2][1], "cancel")


async def test_the_command_line_edits_lends_and_decides_several(groups: ApproverGroups) -> None:
    def cli(name: str, *words: str) -> Any:
        return somagent(*words, settings=groups.platform.settings, SOMAGENT_TOKEN=groups.signed_in[name].token())

    async def as_(name: str, *words: str) -> Any:
        return await asyncio.to_thread(cli, name, *words)

    seen, run, approval = await start_waiting_run(groups, "plain")
    shown = await as_("ann", "approvals", "show", approval)
    assert "needs 1 with approval:decide" in shown.out
    assert "could decide now: ann, ben, cem" in shown.out
    assert (await as_("ann", "approvals", "arguments", approval)).json["code"] == f"{PRINTS}\n"
    assert (await as_("ann", "approvals", "edit", approval)).code == Code.USAGE
    edited = await as_("ann", "approvals", "edit", approval, "-f", "code=print(5)", "--comment", "five")
    assert edited.code == Code.OK, edited
    assert "edit by ann" in edited.out
    assert (await seen.until(run))["output"] == 5
    lent = await as_("ben", "approvals", "delegate", DECIDES, "dee", "--for", "2h", "--reason", "leave", "--json")
    assert lent.code == Code.OK, lent
    two = [await start_waiting_run(groups, "plain") for _ in range(2)]
    ended = await as_("dee", "approvals", "approve", *(a for _, _, a in two), "nothing", "--on-behalf-of", "ben")
    assert ended.code == Code.NOT_FOUND, ended
    assert "There is no approval 'nothing'" in ended.out
    for seen, run, _ in two:
        assert (await seen.until(run))["status"] == "completed"
    assert "open" in (await as_("ben", "approvals", "delegations", "--of", "dee")).out
    assert "revoked by ben" in (await as_("ben", "approvals", "revoke", lent.json["id"])).out


async def test_what_waits_escalates_expires_and_is_edited_replays(groups: ApproverGroups) -> None:
    """The histories of the runs above."""
    keyring = KeyRing.load(groups.platform.settings.keys_dir)
    client = await connect(groups.platform.settings, keyring)
    replayer = Replayer(
        workflows=WORKFLOWS,
        interceptors=[AuthorityInterceptor()],
        plugins=[somagent_plugin(keyring)],
        namespace=client.namespace,
    )
    runs = (await groups.people["ann"].get("/v1/runs", params={"limit": 100})).json()["items"]
    ended = [run["id"] for run in runs if run["status"] in {"completed", "failed"}]
    kinds = {run.split("/")[1] for run in ended}
    assert {"asks-roles", "asks-pairs", "asks-late", "asks-hasty", "asks-plain"} <= kinds
    for run in ended:
        history = await client.get_workflow_handle(run).fetch_history()
        assert (await replayer.replay_workflow(history)).replay_failure is None, run
