"""An auditor with the command line: the whole record of a running stack, one run, its Temporal history, an attack."""

import json
from pathlib import Path
from typing import Any

import pytest
from capsule_texts import utility
from chaos import kill, wait_until_ready
from platforms import Platform
from servers import eventually
from temporalio.client import Client

from somagent.cli.exit_codes import Code
from somagent.identity.keys import KeyRing
from somagent.local_stack.postgres import superuser
from somagent.temporal.client import connect

PRINTS = "print('{\"done\": true}')"


@pytest.fixture
async def client(platform: Platform) -> Client:
    return await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))


async def wait_until_sealed(platform: Platform) -> dict[str, Any]:
    """Wait until nothing waits for the sealer, and return how far the record is sealed."""

    async def nothing_waits() -> None:
        assert (await platform.operator.get("/v1/audit/status")).json()["waiting"] == 0

    await eventually(nothing_waits, seconds=30)
    found: dict[str, Any] = (await platform.operator.get("/v1/audit/status")).json()
    return found


async def test_an_auditor_checks_everything_and_one_run_with_its_history(
    platform: Platform, client: Client, tmp_path: Path
) -> None:
    run = await platform.start(await platform.publish(utility("audited", PRINTS)), {})
    assert (await platform.until(run))["status"] == "completed"
    status = await wait_until_sealed(platform)
    whole = await platform.cli("audit", "verify", "--json")
    assert whole.code == Code.OK, whole
    found = json.loads(whole.out)
    assert (found["holds"], found["records"], found["waiting_for_the_seal"]) == (True, status["leaves"], 0)
    assert found["anchored_blocks"] == found["blocks"] == status["height"]
    listed = await platform.cli("audit", "list", "--action", "capsule.published", "--subject", "audited")
    assert "operator" in listed.out

    exported = json.loads((await client.get_workflow_handle(run).fetch_history()).to_json())
    history = tmp_path / "history.json"
    history.write_text(json.dumps(exported))
    one = await platform.cli("audit", "verify", run, "--history", history, "--json")
    assert one.code == Code.OK, one
    told = json.loads(one.out)
    assert told["sealed"] == told["receipts"] == len(await platform.receipts(run))
    assert told["governed_activities"] == told["allowed_attempts"] == 3

    removed = without_activity(exported, "tool.invoke")
    history.write_text(json.dumps(removed))
    refused = await platform.cli("audit", "verify", run, "--history", history)
    assert refused.code == Code.UNSOUND
    assert "Receipt 3 let attempt 1 of activity" in refused.err

    added = json.loads(json.dumps(exported))
    for event in added["events"]:
        if event.get("activityTaskScheduledEventAttributes", {}).get("activityType", {}).get("name") == "tool.invoke":
            event["activityTaskScheduledEventAttributes"]["activityId"] = "99"
    history.write_text(json.dumps(added))
    ungoverned = await platform.cli("audit", "verify", run, "--history", history)
    assert ungoverned.code == Code.UNSOUND
    assert "Activity '99' (tool.invoke) completed in attempt 1, and no receipt let it begin" in ungoverned.err


def without_activity(history: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the history as if an activity had never been."""
    scheduled = {
        event["eventId"]
        for event in history["events"]
        if event.get("activityTaskScheduledEventAttributes", {}).get("activityType", {}).get("name") == name
    }
    kept = [
        event
        for event in history["events"]
        if event["eventId"] not in scheduled
        and not any(isinstance(part, dict) and part.get("scheduledEventId") in scheduled for part in event.values())
    ]
    return {"events": kept}


async def test_a_sealer_that_is_killed_leaves_no_gap(platform: Platform) -> None:
    run = await platform.start(await platform.publish(utility("sealed-again", PRINTS)), {})
    for _ in range(2):
        await wait_until_ready(platform.supervisor, "sealer", kill(platform.supervisor, "sealer"))
    assert (await platform.until(run))["status"] == "completed"
    await wait_until_sealed(platform)
    found = await platform.cli("audit", "verify", "--json")
    assert found.code == Code.OK, found


async def test_an_altered_receipt_is_named_by_run_and_number(platform: Platform) -> None:
    run = await platform.start(await platform.publish(utility("altered", PRINTS)), {})
    await platform.until(run)
    await wait_until_sealed(platform)
    alter = "UPDATE receipts SET body = $1::json WHERE run = $2 AND seq = 4"
    async with superuser(platform.settings, database="somagent") as connection:
        await connection.execute("SET session_replication_role = replica")
        kept = await connection.fetchval("SELECT body::text FROM receipts WHERE run = $1 AND seq = 4", run)
        await connection.execute(alter, kept.replace("true", "false", 1), run)
    try:
        for arguments in ((), (run,)):
            found = await platform.cli("audit", "verify", *arguments)
            assert found.code == Code.UNSOUND, found
            assert "eceipt 4" in found.err
            assert run in found.err
    finally:
        async with superuser(platform.settings, database="somagent") as connection:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(alter, kept, run)
    assert (await platform.cli("audit", "verify")).code == Code.OK
