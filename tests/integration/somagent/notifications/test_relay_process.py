"""The relay's process as the stack starts it: it tells by the channels that are set, also after it was killed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ledger_messages import begin_effect, key, run_id
from receivers import Hook, new_hook, new_mailbox, receiving, serving
from servers import eventually
from sources import ROOT

from somagent.identity.keys import KeyRing
from somagent.settings import SecretReference, Settings


@asynccontextmanager
async def relaying(settings: Settings, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real process, on this folder's database; neither Temporal nor Valkey is there."""
    KeyRing.create_missing(settings.keys_dir)
    environment = os.environ | {
        "SOMAGENT_HOME": str(settings.home),
        "SOMAGENT_DATABASE_URL": settings.database("app"),
        "SOMAGENT_DATABASE_RELAY_URL": settings.database("relay"),
        "SOMAGENT_REDIS_URL": "redis://127.0.0.1:1/0",
        "SOMAGENT_TEMPORAL_ADDRESS": "127.0.0.1:1",
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.relay", cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)


def channels(hook: Hook, secret: SecretReference, mail_port: int) -> dict[str, str]:
    return {
        "SOMAGENT_NOTIFY_WEBHOOK_URL": hook.url,
        "SOMAGENT_NOTIFY_WEBHOOK_SECRET": secret.reference,
        "SOMAGENT_NOTIFY_REACH": "loopback",
        "SOMAGENT_NOTIFY_MAIL_TO": '["ops@acme.example"]',
        "SOMAGENT_NOTIFY_MAIL_FROM": "soma@acme.example",
        "SOMAGENT_NOTIFY_SMTP_PORT": str(mail_port),
        "SOMAGENT_NOTIFY_SMTP_TLS": "none",
    }


async def test_what_waited_while_the_process_was_dead_is_told_by_every_channel(
    postgres_settings: Settings, outbox, ledger, tenant, secret
):
    hook, mailbox = new_hook(), new_mailbox()

    async def ask() -> str:
        return (await ledger.begin(begin_effect(key(tenant, run_id(tenant)), decision="ask"))).approval.id

    async def arrived(*approvals: str) -> None:
        for approval in approvals:
            assert sum(approval in posted.body.decode() for posted in hook.got) == 1
            assert sum(approval in message.get_content() for message in mailbox.got) == 1

    given = channels(hook, secret, mailbox.port)
    with serving(hook), receiving(mailbox):
        first = await ask()
        async with relaying(postgres_settings, **given) as process:
            await eventually(lambda: arrived(first), seconds=30)
            process.kill()
            await process.wait()
        second = await ask()
        async with relaying(postgres_settings, **given):
            await eventually(lambda: arrived(first, second), seconds=30)


@pytest.mark.parametrize(
    ("half", "missing"),
    [
        ({"SOMAGENT_NOTIFY_WEBHOOK_URL": "https://hooks.example.org"}, "SOMAGENT_NOTIFY_WEBHOOK_SECRET"),
        ({"SOMAGENT_NOTIFY_MAIL_TO": '["a@b.example"]'}, "SOMAGENT_NOTIFY_MAIL_FROM"),
        ({"SOMAGENT_NOTIFY_SMTP_USER": "soma"}, "SOMAGENT_NOTIFY_SMTP_PASSWORD"),
    ],
)
def test_a_channel_that_is_set_by_half_stops_the_start_and_names_the_rest(half, missing, tmp_path: Path):
    environment = os.environ | {"SOMAGENT_HOME": str(tmp_path), **half}
    ended = subprocess.run(
        [sys.executable, "-m", "workers.relay"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert f"{missing} must be set too" in ended.stderr
