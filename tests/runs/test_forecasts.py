"""Forecasts on a running stack: no data at first, then learned from real runs, kept with each run, and never changed."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from files import utility
from platforms import Platform
from servers import eventually

from capsules.forecast import Forecast
from somagent.cli.codes import Code
from somagent.store.database import open_store

PRINTS = "print('{\"done\": true}')"
NEEDED = 18


async def test_a_forecast_is_learned_from_completed_runs_and_kept_with_the_next(
    platform: Platform, tmp_path: Path
) -> None:
    ref = await platform.publish(utility("foretold", PRINTS))
    runs = await asyncio.gather(*(platform.start(ref, {"n": n}) for n in range(NEEDED)))
    for run in runs:
        assert (await platform.until(run, seconds=120))["status"] == "completed"

    async with open_store(platform.settings.database("app")) as store:
        async with store.transaction("local") as tx:
            kept = await tx.forecasts.of(runs[0])
        assert kept is not None
        assert (kept.basis, kept.bound.tool_calls) == ("static", 2)
        for statement in ("UPDATE forecasts SET model = 'x'", "DELETE FROM forecasts"):
            async with store.pool.acquire() as connection:
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
