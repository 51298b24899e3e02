"""A person who does not look hears of what waits, answers with the command of the message, and hears how it ended."""

import json
import shlex
from typing import Any

from capsule_texts import utility
from platforms import Platform
from receivers import WEBHOOK_SECRET, Hook, Mailbox
from servers import eventually

from somagent.cli.exit_codes import Code


async def wait_for_notification(hook: Hook, type_: str, run: str) -> dict[str, Any]:
    """Wait for a notice of a run and return it."""

    async def arrived() -> None:
        assert [
            body for body in map(json.loads, (p.body for p in hook.got)) if (body["type"], body["run"]) == (type_, run)
        ]

    await eventually(arrived, seconds=30)
    [body] = [b for b in map(json.loads, (p.body for p in hook.got)) if (b["type"], b["run"]) == (type_, run)]
    return body


async def test_a_person_hears_answers_and_hears_how_it_ended(platform: Platform, hook: Hook, mailbox: Mailbox) -> None:
    capsule = utility("asks-by-notice", "print('{\"done\": true}')", autonomy="manual")
    run = await platform.start(await platform.publish(capsule), {})
    asked = await wait_for_notification(hook, "approval.requested", run)
    show, approve, _ = (shlex.split(command)[1:] for command in asked["commands"])
    assert "manual-autonomy" in (await platform.cli(*show)).out
    assert (await platform.cli(*approve, "--as", "approver")).code == Code.OK
    assert (await platform.until(run))["status"] == "completed"
    decided = await wait_for_notification(hook, "approval.decided", run)
    assert "by: approver" in decided["text"]
    assert decided["approval"]["state"] in {"approved", "used"}

    async def mailed() -> None:
        ids = [message["X-SomaAgent-Event-Id"] for message in mailbox.got]
        assert {asked["id"], decided["id"]} <= set(ids)

    await eventually(mailed, seconds=30)
    answer = await platform.approver.get(asked["url"].removeprefix(platform.settings.api_base()))
    assert answer.json()["id"] == asked["approval"]["id"]


async def test_the_command_line_tests_the_channels_and_lists_what_was_told(platform: Platform) -> None:
    ended = await platform.cli("notify", "test")
    assert (ended.code, ended.out.count("sent")) == (Code.OK, 2), ended
    assert "127.0.0.1 answered 204." in ended.out
    listed = await platform.cli("notify", "list", "--state", "sent")
    assert "127.0.0.1 answered 204." in listed.out
    found = (await platform.cli("notify", "list", "--json")).json
    assert {item["channel"] for item in found} == {"webhook", "mail"}


async def test_no_secret_stands_in_a_log_or_in_a_payload(platform: Platform, hook: Hook) -> None:
    logs = [file.read_text("utf-8", "replace") for file in (platform.settings.home / "logs").glob("*.log")]
    assert any("notification.sent" in text for text in logs)
    for text in [*logs, *(posted.body.decode() for posted in hook.got)]:
        assert WEBHOOK_SECRET not in text
