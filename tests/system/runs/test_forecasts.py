"""Forecasts on a running stack: no data at first, then learned from real runs, kept with each run, and never changed."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from capsule_texts import utility
from platforms import Platform
from servers import eventually

from capsules.forecasts.forecast import Forecast
from somagent.cli.exit_codes import Code
from somagent.db.database import open_database

PRINTS = "print('{\"done\": true}')"
NEEDED = 18
DEAR = "forecast.tokens > 5000"


async def test_a_forecast_is_learned_from_completed_runs_and_kept_with_the_next(
    platform: Platform, tmp_path: Path
) -> None:
    ref = await platform.publish(utility("foretold", PRINTS))
    runs = await asyncio.gather(*(platform.start(ref, {"n": n}) for n in range(NEEDED)))
    for run in runs:
        assert (await platform.until(run, seconds=120))["status"] == "completed"

    async with open_database(platform.settings.database("app")) as db:
        async with db.transaction("local") as tx:
            kept = {past.run: past.forecast for past in await tx.forecasts.past("foretold")}
        assert kept.keys() == set(runs)
        assert (kept[runs[0]].basis, kept[runs[0]].bound.tool_calls) == ("static", 2)
        for statement in ("UPDATE forecasts SET model = 'x'", "DELETE FROM forecasts"):
            async with db.pool.acquire() as connection:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)

    told = Forecast.model_validate_json((await platform.cli("forecast", ref, "--json")).out)
    assert (told.basis, told.runs, told.coverage) == ("learned", NEEDED, 900_000)

    async def next_one_is_learned() -> None:
        run = await platform.start(ref, {"n": 1})
        await platform.until(run)
        listed = json.loads((await platform.cli("forecasts", "list", "--capsule", "foretold", "--json")).out)
        assert listed[-1]["run"] == run
        assert listed[-1]["forecast"]["basis"] == "learned"
        ends = listed[-1]["forecast"]["tokens"]
        assert ends["low"] <= listed[-1]["tokens"] <= ends["high"]

    await eventually(next_one_is_learned, seconds=60)  # the worker learns anew after ten seconds
    for suffix, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        file = tmp_path / f"plot{suffix}"
        shown = await platform.cli("forecasts", "accuracy", "--capsule", "foretold", "--plot", file)
        assert shown.code == Code.OK, shown
        assert "100.0%" in shown.out
        assert file.read_bytes().startswith(begins)
    assert (await platform.cli("forecasts", "accuracy", "--plot", tmp_path / "plot.gif")).code == Code.USAGE


async def test_inputs_and_capsules_are_checked_before_a_forecast(platform: Platform) -> None:
    assert (await platform.cli("forecast", "nowhere@1")).code == Code.NOT_FOUND
    never_run = await platform.publish(utility("untold", PRINTS))
    cold = await platform.cli("forecast", never_run)
    assert cold.code == Code.OK, cold
    assert "No data: 0 completed runs of 'untold'" in cold.out
    bad = await platform.operator.post("/v1/forecasts", json={"capsule": "word-count@1", "inputs": {"text": 3}})
    assert (bad.status_code, bad.json()["code"]) == (422, "Invalid")


async def test_a_start_that_is_forecast_to_be_dear_is_asked_for(platform: Platform, tmp_path: Path) -> None:
    sample = Path("capsules/library/constitutions/overlays/costly-starts.yaml").read_text()
    mine = sample.replace("(forecast.micro_usd > 500000 || forecast.tokens > 200000)", DEAR)
    mine = mine.replace("capsule.start' && forecast.micro_usd > 500000", f"capsule.start' && {DEAR}")
    file = tmp_path / "costly.yaml"
    file.write_text(mine)
    assert (await platform.cli("policy", "sign", file)).code == Code.OK
    waiting = await platform.cli("policy", "activate", file, "--tenant", "local", "--key", "costly")
    assert waiting.code == Code.WAITING, waiting
    assert (await platform.cli("policy", "approve", "costly", "--as", "approver")).code == Code.OK
    try:
        cheap = await platform.publish(utility("cheap", PRINTS))
        dear = await platform.publish(utility("dear", PRINTS).replace("tool_calls: 2", "tool_calls: 2, tokens: 6000"))
        run = await platform.start(dear, {"n": 1})
        asked = await platform.until(run, "awaiting_approval")
        assert "costly-start" in asked["reason"] or "half a dollar" in asked["reason"], asked
        assert asked["spent"] == {"tokens": 0, "micro_usd": 0, "tool_calls": 0}
        (approval,) = await platform.approvals(run)
        assert approval["kind"] == "capsule.start"
        told = [one["body"]["facts"]["forecast"] for one in await platform.receipts(run) if "facts" in one["body"]]
        assert told[0]["tokens"] == 6000, "without data the whole budget counts"
        assert (await platform.cli("approve", approval["id"], "--as", "approver")).code == Code.OK
        assert (await platform.until(run))["status"] == "completed"
        assert (await platform.run(cheap, {"n": 1}))["status"] == "completed"
    finally:
        back = await platform.cli("policy", "rollback", "--tenant", "local", "--key", "costly-back")
        assert back.code == Code.WAITING, back
        assert (await platform.cli("policy", "approve", "costly-back", "--as", "approver")).code == Code.OK
