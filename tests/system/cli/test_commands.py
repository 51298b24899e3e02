"""The CLI against the whole stack: runs with live progress, decisions, budgets, schedules, receipts."""

import asyncio
import json
import os
import signal
import uuid
from pathlib import Path

import pytest
from capsule_texts import asks_first
from client_cli import somagent
from platforms import Platform
from servers import eventually

from somagent.capsule_files.library import example
from somagent.cli.exit_codes import Code


@pytest.fixture(scope="module")
async def asking_capsule(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("cli") / "asks.yaml"
    file.write_text(asks_first("cli-asks"))
    assert (await platform.cli("capsule", "publish", str(file))).code == Code.OK
    return "cli-asks@1"


@pytest.fixture
async def waiting_run(platform: Platform, asking_capsule: str) -> str:
    """Id of a run that waits for a person."""
    key = uuid.uuid4().hex
    ended = await platform.cli("run", asking_capsule, "--key", key, "--no-wait")
    assert ended.code == Code.WAITING, ended
    assert "waits for a person: somagent approve" in ended.out
    return f"local/cli-asks/{key}"


async def approval_of(platform: Platform, run: str) -> str:
    found = (await platform.cli("approvals", "list", "--run", run, "--json")).json
    assert isinstance(found, list), found  # while the API is away, the answer is its problem
    return str(found[0]["id"])


async def test_a_run_shows_each_action_with_score_and_budget_and_then_the_deliverable(platform: Platform) -> None:
    ended = await platform.cli("run", "word-count", "-f", "text=One two two.")
    assert ended.code == Code.OK, ended.err
    assert "allow  tool.invoke python@1.0.0/run" in ended.out
    assert "score 0.800" in ended.out
    assert "used 1 tool call, left nothing" in ended.out
    assert json.loads(ended.out[ended.out.index("\n{") :])["words"] == 3


async def test_with_json_a_run_is_one_document(platform: Platform) -> None:
    ended = await platform.cli("run", "word-count", "-i", "-", "--json", stdin='{"text": "One."}')
    assert ended.json["status"] == "completed"
    assert ended.json["output"]["words"] == 1


async def test_a_real_log_goes_in_as_a_file(platform: Platform) -> None:
    ended = await platform.cli("run", "log-triage", "--input-file", f"log={example('postgresql.log')}", "--json")
    assert ended.code == Code.OK, ended.err
    output = ended.json["output"]
    text = example("postgresql.log").read_text("utf-8")
    counted = {"error": text.count(" ERROR:  "), "fatal": text.count(" FATAL:  "), "info": text.count(" LOG:  ")}
    assert output["levels"] == counted == {"error": 21, "fatal": 9, "info": 25}
    assert output["top"][0] == {
        "level": "fatal",
        "message": "password authentication failed for user",
        "count": 5,
    }


async def test_the_children_of_a_composite_are_shown_by_task(platform: Platform) -> None:
    ended = await platform.cli("run", "weekly-report", "--example")
    assert ended.code == Code.OK, ended.err
    for task in ("triage", "meeting", "words", "report"):
        assert f"\n{task:<9} " in ended.out
    assert "# Week 47" in ended.out


async def test_the_same_key_is_the_same_run(platform: Platform) -> None:
    command = ("run", "word-count", "-f", "text=Twice.", "--key", uuid.uuid4().hex, "--detach")
    first, again = await platform.cli(*command), await platform.cli(*command)
    assert first.out == again.out
    assert (await platform.cli("runs", "watch", first.out.strip())).code == Code.OK


async def test_inputs_that_break_the_schema_end_with_5_and_name_the_field(platform: Platform) -> None:
    ended = await platform.cli("run", "word-count", "-f", "txt=x")
    assert ended.code == Code.INVALID
    assert "inputs.text" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        ("run", "nothing-here"),
        ("runs", "show", "local/word-count/nope"),
        ("runs", "events", "local/word-count/nope"),
        ("capsule", "show", "nothing-here"),
        ("schedule", "show", "nope"),
        ("receipts", "local/word-count/nope"),
    ],
    ids=" ".join,
)
async def test_what_is_not_there_ends_with_4(platform: Platform, command: tuple[str, ...]) -> None:
    ended = await platform.cli(*command)
    assert ended.code == Code.NOT_FOUND, ended
    assert ended.err.strip()


async def test_who_asked_cannot_approve_and_somebody_else_can(platform: Platform, waiting_run: str) -> None:
    approval = await approval_of(platform, waiting_run)
    assert (await platform.cli("approve", approval)).code == Code.DENIED
    ended = await platform.cli("approve", approval, "--as", "approver", "--comment", "looked at it")
    assert ended.code == Code.OK, ended.err
    assert "decided by approver" in ended.out
    watched = await platform.cli("runs", "watch", waiting_run)
    assert watched.code == Code.OK
    assert "looked at it" in watched.out
    assert (await platform.cli("approve", approval, "--as", "approver")).code == Code.CONFLICT


async def test_a_denied_run_ends_with_1_and_its_reason(platform: Platform, waiting_run: str) -> None:
    assert (await platform.cli("deny", await approval_of(platform, waiting_run), "--as", "approver")).code == Code.OK
    ended = await platform.cli("runs", "watch", waiting_run)
    assert ended.code == Code.RUN_FAILED
    assert "a person denied it" in ended.out


async def test_a_run_is_paused_resumed_told_and_cancelled(platform: Platform, waiting_run: str) -> None:
    for command in (("pause", waiting_run), ("resume", waiting_run), ("message", waiting_run, "Hurry up.")):
        assert (await platform.cli("runs", *command)).code == Code.OK
    assert (await platform.cli("runs", "cancel", waiting_run, "--reason", "not needed")).code == Code.OK
    ended = await platform.cli("runs", "watch", waiting_run)
    assert ended.code == Code.RUN_FAILED
    assert "cancelled" in ended.out
    assert (await platform.cli("runs", "cancel", waiting_run)).code == Code.CONFLICT


async def test_a_budget_is_shown_and_raised_by_who_may(platform: Platform, waiting_run: str) -> None:
    assert "1 tool call" in (await platform.cli("budget", "show", waiting_run)).out
    assert (await platform.cli("budget", "raise", waiting_run, "--tool-calls", "2")).code == Code.DENIED
    ended = await platform.cli("budget", "raise", waiting_run, "--tool-calls", "2", "--as", "approver")
    assert (ended.code, ended.out) == (Code.OK, "limit 3 tool calls, left 3 tool calls\n")
    ended = await platform.cli("budget", "raise", waiting_run, "--tokens", "9000000000", "--as", "approver")
    assert ended.code == Code.BUDGET
    await platform.cli("runs", "cancel", waiting_run)


async def test_a_chain_of_receipts_is_checked_here(platform: Platform) -> None:
    run = (await platform.cli("run", "word-count", "-f", "text=x", "--json")).json["id"]
    ended = await platform.cli("receipts", run, "--verify", "--json")
    assert ended.json["verified"] is True
    assert [item["seq"] for item in ended.json["items"]] == list(range(1, len(ended.json["items"]) + 1))
    assert "The hash chain is complete" in (await platform.cli("receipts", run, "--verify")).out


async def test_events_are_lines_of_json(platform: Platform) -> None:
    run = (await platform.cli("run", "word-count", "-f", "text=x", "--json")).json["id"]
    lines = [json.loads(line) for line in (await platform.cli("runs", "events", run, "--json")).out.splitlines()]
    assert lines[0]["type"] == "run.started"
    assert lines[-1]["type"] == "run.closed"


async def test_a_schedule_lives_its_life(platform: Platform) -> None:
    created = await platform.cli("schedule", "create", "cli-daily", "word-count", "--cron", "0 7 * * *", "-f", "text=x")
    assert created.code == Code.OK, created.err
    for command in ("pause", "trigger", "unpause", "show"):
        assert (await platform.cli("schedule", command, "cli-daily")).code == Code.OK
    assert (await platform.cli("schedule", "delete", "cli-daily")).code == Code.OK
    assert (await platform.cli("schedule", "show", "cli-daily")).code == Code.NOT_FOUND


async def test_a_minted_token_can_do_less(platform: Platform) -> None:
    made = (await platform.cli("token", "mint", "-c", "run:read", "--seconds", "60", "--json")).json
    narrow = {"SOMAGENT_TOKEN": made["token"]}
    listed = await asyncio.to_thread(somagent, "runs", "list", settings=platform.settings, **narrow)
    refused = await asyncio.to_thread(somagent, "capsule", "list", settings=platform.settings, **narrow)
    assert (listed.code, refused.code) == (Code.OK, Code.DENIED)


async def test_a_published_capsule_is_shown_as_a_file_that_is_the_same(platform: Platform, tmp_path: Path) -> None:
    shown = await platform.cli("capsule", "show", "word-count")
    file = tmp_path / "again.yaml"
    file.write_text(shown.out)
    again = (await platform.cli("capsule", "validate", str(file), "--json")).json[0]
    assert again["digest"] == (await platform.cli("capsule", "show", "word-count", "--json")).json["digest"]


async def test_a_file_with_wrong_names_is_refused_with_places(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(asks_first("cli-asks").replace("python@1", "pyton@1"))
    ended = await platform.cli("capsule", "publish", str(file))
    assert ended.code == Code.INVALID
    assert "spec.tools[0].use: There is no tool 'pyton@1'" in ended.err


async def test_the_same_version_with_other_content_is_a_conflict(
    platform: Platform, asking_capsule: str, tmp_path: Path
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(asks_first("cli-asks").replace("Print one.", "Print another."))
    assert (await platform.cli("capsule", "publish", str(file))).code == Code.CONFLICT


async def test_watching_survives_the_api_being_killed_and_tells_nothing_twice(
    platform: Platform, waiting_run: str
) -> None:
    watching = asyncio.create_task(platform.cli("runs", "events", waiting_run, "--follow", "--json"))
    await asyncio.sleep(3)  # the watcher has connected and seen what there was
    api = next(part for part in platform.supervisor.states if part.name == "api")
    assert api.process is not None
    os.kill(api.process.pid, signal.SIGKILL)
    await eventually(lambda: approve_waiting(platform, waiting_run), seconds=60)
    ended = await watching
    assert ended.code == Code.OK, ended.err
    told = [json.loads(line) for line in ended.out.splitlines()]
    stored = [json.dumps(event, sort_keys=True) for event in told if event["type"] != "token"]
    assert len(stored) == len(set(stored))
    assert told[-1]["type"] == "run.closed"
    assert told[-1]["data"]["status"] == "completed"


async def approve_waiting(platform: Platform, run: str) -> None:
    """Approve what the run waits for; fails while the API is away."""
    approval = await approval_of(platform, run)
    ended = await platform.cli("approve", approval, "--as", "approver")
    assert ended.code in {Code.OK, Code.CONFLICT}, ended.err
