"""Whether people would be told: a test by every channel that is set, and the list of what was told."""

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from api_callers import Callers, assert_problem
from pydantic import SecretStr
from receivers import new_hook, new_mailbox, receiving, serving
from servers import serving_app

from api.app import create_app
from api.deps import State


@asynccontextmanager
async def api_with(state: State, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the API with these settings on a port of its own."""
    changed = dataclasses.replace(state, settings=state.settings.model_copy(update=settings))
    async with serving_app(create_app(changed)) as base, httpx.AsyncClient(base_url=base, timeout=30) as client:
        yield client


async def test_a_test_goes_out_by_every_channel_and_says_what_came_of_each(
    state: State, callers: Callers, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("a secret of many characters")
    hook, mailbox = new_hook(), new_mailbox()
    channels = {
        "notify_webhook_url": SecretStr(hook.url),
        "notify_webhook_secret": f"file:{tmp_path / 'secret'}",
        "notify_reach": "loopback",
        "notify_mail_to": ("ops@acme.example",),
        "notify_mail_from": "soma@acme.example",
        "notify_smtp_port": mailbox.port,
        "notify_smtp_tls": "none",
    }
    async with api_with(state, **channels) as http:
        with serving(hook):
            answer = await http.post("/v1/notifications/test", headers=callers.all("grace"))
    assert answer.status_code == 200, answer.text
    webhook, mail = answer.json()["channels"]
    assert (webhook["channel"], webhook["sent"]) == ("webhook", True)
    assert (mail["channel"], mail["sent"]) == ("mail", False), "nobody receives mail yet"
    assert "cannot be used" in mail["said"]
    [posted] = hook.got
    told = json.loads(posted.body)
    assert (told["id"], told["type"], told["tenant"]) == (answer.json()["event"], "test", callers.tenant)
    assert "grace asked for this" in told["text"]
    async with api_with(state, **channels) as http:
        with receiving(mailbox):
            again = await http.post("/v1/notifications/test", headers=callers.all())
    assert [tried["sent"] for tried in again.json()["channels"]] == [False, True]
    assert len(mailbox.got) == 1


async def test_without_a_channel_it_says_what_to_set(http: httpx.AsyncClient, callers: Callers) -> None:
    answer = await http.post("/v1/notifications/test", headers=callers.all())
    assert_problem(answer, 409, "Conflict", "SOMAGENT_NOTIFY_WEBHOOK_URL", "SOMAGENT_NOTIFY_MAIL_TO")
    assert (await http.get("/v1/notifications", headers=callers.all())).json() == {"items": [], "next": None}
