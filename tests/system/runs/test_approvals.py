"""A person decides: bound to one action, by somebody else, once; and what is denied does not happen."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from capsule_texts import utility
from platforms import Platform

PRINTS = "print('{\"done\": true}')"
TEMPORAL = Path(sys.executable).parent / "temporal"


async def start_waiting_run(platform: Platform, name: str) -> tuple[str, dict[str, object]]:
    """Start a capsule whose tool use a person decides; return the run and its waiting approval."""
    run = await platform.start(await platform.publish(utility(name, PRINTS, autonomy="manual")), {})
    shown = await platform.until(run, "awaiting_approval")
    assert shown["status"] == "awaiting_approval", shown["reason"]
    [approval] = await platform.approvals(run)
    return run, approval


async def signal(platform: Platform, run: str, decision: dict[str, object]) -> None:
    """Do what a person does at a terminal: `temporal workflow signal`."""
    process = await asyncio.create_subprocess_exec(
        *(TEMPORAL, "workflow", "signal", "--address", platform.settings.temporal_target()),
        *("--workflow-id", run, "--name", "approve", "--input", json.dumps(decision)),
        stdout=subprocess.DEVNULL,
    )
    assert await process.wait() == 0


async def test_an_approved_action_runs_once_and_the_approval_is_used(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-first")
    assert "manual-autonomy" in str(approval["sentence"])
    answer = await platform.approver.post(f"/v1/approvals/{approval['id']}/approve", json={"comment": "Fine."})
    assert answer.status_code == 200, answer.text
    shown = await platform.until(run)
    assert (shown["status"], shown["output"]) == ("completed", {"done": True})
    again = await platform.approver.get(f"/v1/approvals/{approval['id']}")
    assert (again.json()["state"], again.json()["decided_by"], again.json()["comment"]) == ("used", "approver", "Fine.")
    decisions = [
        r["body"]["decision"]
        for r in await platform.receipts(run)
        if r["body"].get("action", {}).get("kind") == "tool.invoke"
    ]
    assert decisions == ["ask", "allow"]


async def test_a_denied_action_does_not_run_and_the_run_says_so(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-in-vain")
    answer = await platform.approver.post(f"/v1/approvals/{approval['id']}/deny", json={"comment": "No."})
    assert answer.status_code == 200, answer.text
    shown = await platform.until(run)
    assert shown["status"] == "failed"
    assert "a person denied it" in shown["reason"]
    assert shown["spent"]["tool_calls"] == 0


async def test_who_asks_may_not_decide(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-itself")
    answer = await platform.operator.post(f"/v1/approvals/{approval['id']}/approve", json={})
    assert answer.status_code == 403
    assert (await platform.show(run))["status"] == "awaiting_approval"
    await platform.tell(run, "cancel")


async def test_deciding_twice_changes_nothing(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-twice")
    first = await platform.approver.post(f"/v1/approvals/{approval['id']}/approve", json={})
    await platform.until(run)
    second = await platform.approver.post(f"/v1/approvals/{approval['id']}/deny", json={})
    assert (first.status_code, second.status_code) == (200, 409)
    assert (await platform.show(run))["status"] == "completed"


async def test_a_signal_of_the_temporal_command_line_approves(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-by-signal")
    minted = await platform.approver.post(f"/v1/approvals/{approval['id']}/attestation", json={"approve": True})
    assert minted.status_code == 201, minted.text
    await signal(platform, run, minted.json())
    assert (await platform.until(run))["status"] == "completed"


async def test_an_attestation_for_another_action_approves_nothing(platform: Platform) -> None:
    run, approval = await start_waiting_run(platform, "asks-this")
    other, elsewhere = await start_waiting_run(platform, "asks-that")
    minted = await platform.approver.post(f"/v1/approvals/{elsewhere['id']}/attestation", json={"approve": True})
    await signal(platform, run, {**minted.json(), "approval": approval["id"], "action": approval["action"]})
    state = await platform.operator.get(f"/v1/runs/{quote(run, safe='')}/state")
    assert [a["id"] for a in state.json()["approvals"]] == [approval["id"]]
    for open_run in (run, other):
        await platform.tell(open_run, "cancel")


async def test_waiting_for_a_person_is_not_on_the_wall_clock(platform: Platform) -> None:
    short = utility("patient", PRINTS, budget="{tool_calls: 2, wall_clock: 3s}", autonomy="manual")
    run = await platform.start(await platform.publish(short), {})
    await platform.until(run, "awaiting_approval")
    [approval] = await platform.approvals(run)
    await asyncio.sleep(4)
    assert (await platform.approver.post(f"/v1/approvals/{approval['id']}/approve", json={})).status_code == 200
    shown = await platform.until(run)
    assert shown["status"] == "completed", shown["reason"]
