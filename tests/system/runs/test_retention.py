"""Retention on a running stack: content goes when its time is over; what was decided and spent can still be shown."""

import json
from pathlib import Path

from capsule_texts import utility
from platforms import Platform

from somagent.cli.exit_codes import Code
from somagent.db.database import open_database
from somagent.local_stack.postgres import superuser
from workers.relay.content_pruner import sweep

PRINTS = "print('{\"done\": true}')"


async def age_run(platform: Platform, run: str) -> None:
    """Turn the clock of one run back, as a superuser: nobody waits for a month here."""
    async with superuser(platform.settings, database="somagent") as connection:
        await connection.execute("SET session_replication_role = replica")  # the row of a run that has ended is final
        await connection.execute(
            "UPDATE runs SET created_at = created_at - interval '40 days', closed_at = closed_at - interval '40 days' "
            "WHERE id = $1",
            run,
        )


async def test_a_pruned_run_keeps_its_record_and_a_held_one_keeps_everything(
    platform: Platform, tmp_path: Path
) -> None:
    ref = await platform.publish(utility("kept-a-while", PRINTS))
    gone, held = [(await platform.run(ref, {"n": n}))["id"] for n in (1, 2)]
    refused = await platform.cli("retention", "set", "--content-days", "30")
    assert refused.code == Code.DENIED
    hold = await platform.cli("retention", "hold", f"run:{held}", "--reason", "Case 7", "--as", "approver")
    assert hold.code == Code.OK, hold
    try:
        shown = await platform.cli("retention", "set", "--content-days", "30", "--as", "approver")
        assert "content of runs  30 days" in shown.out, shown
        for run in (gone, held):
            await age_run(platform, run)
        assert "1 runs" in (await platform.cli("retention", "show")).out
        async with open_database(platform.settings.database("relay")) as relay:
            assert (await sweep(relay)).runs == 1
    finally:
        kept = await platform.cli("retention", "set", "--content-days", "forever", "--as", "approver")
        assert "for ever" in kept.out
    assert (await platform.show(held))["output"] == {"done": True}
    pruned = await platform.show(gone)
    assert (pruned["output"], pruned["inputs"], pruned["status"]) == (None, {}, "completed")
    assert pruned["pruned_at"]
    told = await platform.cli("explain", gone)
    assert told.code == Code.OK, told
    assert "deleted" in told.out
    archive = tmp_path / "gone.zip"
    assert (await platform.cli("evidence", "export", gone, "-o", archive)).code == Code.OK
    assert (await platform.cli("audit", "verify", gone)).code == Code.OK
    assert (await platform.cli("audit", "keys", "-o", tmp_path / "keys")).code == Code.OK
    checked = await platform.cli("audit", "verify", "--bundle", archive, "--keys", tmp_path / "keys")
    assert (checked.code, "deleted at" in checked.out) == (Code.OK, True), checked
    entries = json.loads((await platform.cli("audit", "list", "--action", "retention.pruned", "--json")).out)
    assert gone in json.dumps(entries)
    assert held not in json.dumps(entries)
    assert "Case 7" in (await platform.cli("retention", "holds")).out
