"""A person who does not look hears of what waits, answers with the command of the message, and hears how it ended."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_cli import Ended, somagent
from files import utility
from platforms import Platform, platform_in
from pydantic import SecretStr
from receivers import Hook, Mailbox, new_hook, new_mailbox, receiving, serving
from servers import eventually, settings_in, temporary_home

from somagent.cli.exit_codes import Code


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with serving(new_hook()) as serving_hook:
        yield serving_hook


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with receiving(new_mailbox()) as receiving_mailbox:
        yield receiving_mailbox


@pytest.fixture(scope="module")
async def telling(hook: Hook, mailbox: Mailbox) -> AsyncIterator[Platform]:
    """The whole stack with both channels set."""
    with temporary_home() as directory:
        secret = Path(directory) / "secret"
        secret.write_text("a secret of many characters")
        channels: dict[str, Any] = {
            "notify_webhook_url": SecretStr(hook.url),
            "notify_webhook_secret": f"file:{secret}",
            "notify_reach": "loopback",
            "notify_mail_to": ("ops@acme.example",),
            "notify_mail_from": "soma@acme.example",
            "notify_smtp_port": mailbox.port,
            "notify_smtp_tls": "none",
        }
        async with platform_in(settings_in(directory, **channels)) as started:
            yield started


async def cli(platform: Platform, *arguments: str) -> Ended:
    return await asyncio.to_thread(somagent, *arguments, settings=platform.settings)


async def told(hook: Hook, type_: str, run: str) -> dict[str, Any]:
    """Wait for a notice of a run and return it."""

    async def arrived() -> None:
        assert [
            body for body in map(json.loads, (p.body for p in hook.got)) if (body["type"], body["run"]) == (type_, run)
        ]

    await eventually(arrived, seconds=30)
    [body] = [b for b in map(json.loads, (p.body for p in hook.got)) if (b["type"], b["run"]) == (type_, run)]
    return body


async def test_a_person_hears_answers_and_hears_how_it_ended(telling: Platform, hook: Hook, mailbox: Mailbox) -> None:
    capsule = utility("asks-by-notice", "print('{\"done\": true}')", autonomy="manual")
    run = await telling.start(await telling.publish(capsule), {})
    asked = await told(hook, "approval.requested", run)
    show, approve, _ = (shlex.split(command)[1:] for command in asked["commands"])
    assert "manual-autonomy" in (await cli(telling, *show)).out
    assert (await cli(telling, *approve, "--as", "approver")).code == Code.OK
    assert (await telling.until(run))["status"] == "completed"
    decided = await told(hook, "approval.decided", run)
    assert "by: approver" in decided["text"]
    assert decided["approval"]["state"] in {"approved", "used"}

    async def mailed() -> None:
        ids = [message["X-SomaAgent-Event-Id"] for message in mailbox.got]
        assert {asked["id"], decided["id"]} <= set(ids)

    await eventually(mailed, seconds=30)
    answer = await telling.approver.get(asked["url"].removeprefix(telling.settings.api_base()))
    assert answer.json()["id"] == asked["approval"]["id"]


async def test_the_command_line_tests_the_channels_and_lists_what_was_told(telling: Platform) -> None:
    ended = await cli(telling, "notify", "test")
    assert (ended.code, ended.out.count("sent")) == (Code.OK, 2), ended
    assert "127.0.0.1 answered 204." in ended.out
    listed = await cli(telling, "notify", "list", "--state", "sent")
    assert "127.0.0.1 answered 204." in listed.out
    found = (await cli(telling, "notify", "list", "--json")).json
    assert {item["channel"] for item in found} == {"webhook", "mail"}


async def test_no_secret_stands_in_a_log_or_in_a_payload(telling: Platform, hook: Hook) -> None:
    logs = [file.read_text("utf-8", "replace") for file in (telling.settings.home / "logs").glob("*.log")]
    assert any("notice.sent" in text for text in logs)
    for text in [*logs, *(posted.body.decode() for posted in hook.got)]:
        assert "a secret of many characters" not in text
