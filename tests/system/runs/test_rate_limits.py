"""A project's rate on a running stack: what comes too early waits, durably, and then goes on; the record says so."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from capsule_texts import utility
from platforms import Platform
from redis.asyncio import Redis
from servers import eventually

from somagent.cli.exit_codes import Code
from somagent.identity.keys import KeyRing
from somagent.temporal.client import connect

PRINTS = "print('{\"done\": true}')"
MINUTE = 60


@pytest.mark.parametrize("passed", [48, pytest.param(0, marks=pytest.mark.long)])
async def test_a_call_beyond_the_rate_waits_until_a_minute_has_passed(
    platform: Platform, tmp_path: Path, passed: int
) -> None:
    """`passed`: seconds of the minute that are over, in Valkey's eyes, when the second call comes."""
    project = f"slow-{passed}"
    ref = await platform.publish(utility("paced", PRINTS))
    options = ("--tool-calls", "50", "--calls-per-minute", "1", "--as", "approver")
    given = await platform.cli("project", "set", project, *options)
    assert "1 call a minute" in given.out, given
    assert (await platform.cli("run", ref, "--field", "n=0", "--project", project)).code == Code.OK
    async with Redis.from_url(platform.settings.redis_target()) as valkey:
        began = f"somagent:pace:{{local}}:project:{project}:began"
        [effect] = await valkey.zrange(began, 0, -1)
        await valkey.zincrby(began, -1000 * passed, effect)
    ids = json.loads((await platform.cli("run", ref, "--field", "n=1", "--project", project, "-d", "--json")).out)
    run = ids["id"]

    async def refused() -> list[dict[str, str]]:
        return [one["body"] for one in await platform.receipts(run) if one["body"].get("reason") == "rate"]

    async def has_come() -> None:
        assert await refused()

    await eventually(has_come)
    assert f"1 call a minute of project:{project} are in use" in (await refused())[-1]["why"]
    ended = await platform.until(run, seconds=2 * MINUTE)
    assert ended["status"] == "completed"
    acts = [one for one in await platform.receipts(run) if one["body"].get("action", {}).get("kind") == "tool.invoke"]
    began, allowed = (datetime.fromisoformat(one["at"]) for one in (acts[0], acts[-1]))
    waited = (allowed - began).total_seconds()
    assert waited > (MINUTE - passed) / 3, "the first call of the project was a moment before"
    assert ended["spent"]["tool_calls"] == 1

    client = await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))
    history = tmp_path / "history.json"
    history.write_text((await client.get_workflow_handle(run).fetch_history()).to_json())
    assert (await platform.cli("audit", "verify", run, "--history", history)).code == Code.OK


async def test_an_action_that_no_minute_can_hold_is_refused_at_once(platform: Platform) -> None:
    options = ("--tokens", "100000", "--usd", "1", "--tool-calls", "50", "--tokens-per-minute", "3", "--as", "approver")
    assert (await platform.cli("project", "set", "tiny", *options)).code == Code.OK
    ended = await platform.cli("run", "issue-triage", "--example", "--project", "tiny", "--json")
    run = json.loads(ended.out)["id"]
    said = [one["body"]["why"] for one in await platform.receipts(run) if one["body"].get("reason") == "rate"]
    assert any("can never begin" in why for why in said), said
