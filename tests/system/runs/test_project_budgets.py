"""A run that spends a project's budget: carved from it, returned to it, reported under it, refused when it has no more."""

import asyncio
import json

from capsule_texts import utility
from platforms import Platform

from somagent.cli.exit_codes import Code

PRINTS = "print('{\"done\": true}')"


async def test_runs_spend_their_projects_budget_and_are_reported_under_it(platform: Platform) -> None:
    ref = await platform.publish(utility("for-a-project", PRINTS))
    given = await platform.cli(
        "project", "set", "paper", "--tool-calls", "3", "--wall-clock", "1h", "--monthly", "--as", "approver"
    )
    assert given.code == Code.OK, given
    assert "3 tool calls this month" in given.out

    ended = await platform.cli("run", ref, "--field", "n=1", "--project", "paper")
    assert ended.code == Code.OK, ended
    assert (await platform.cli("run", ref, "--field", "n=1")).code == Code.OK
    shown = json.loads((await platform.cli("project", "show", "paper", "--json")).out)
    assert (shown["account"]["spent"]["tool_calls"], shown["left"]["tool_calls"]) == (1, 2)
    clock = shown["account"]["wall_clock"]
    assert (0 < clock["spent"] < 60, clock["reserved"], clock["limit"]) == (True, 0, 3600)

    report = json.loads((await platform.cli("usage", "--by", "project", "--json")).out)
    paper = next(row for row in report["items"] if row["project"] == "paper")
    assert (paper["runs"], paper["spent"]["tool_calls"]) == (1, 1)
    assert any(row["project"] == "" for row in report["items"])

    # Its capsule asks for two calls: the next one fits, and beside that no other does.
    await asyncio.gather(*(platform.cli("run", ref, "--field", f"n={n}", "--project", "paper") for n in (2, 3, 4)))
    shown = json.loads((await platform.cli("project", "show", "paper", "--json")).out)
    assert shown["account"]["spent"]["tool_calls"] == 2
    assert shown["account"]["reserved"]["tool_calls"] == 0
    refused = await platform.cli("run", ref, "--field", "n=5", "--project", "paper")
    assert refused.code != Code.OK
    assert (await platform.cli("budget", "check")).code == Code.OK
