"""The webhook on a real socket: signed as documented, to the address that was checked, and nowhere else."""

import ipaddress
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from receivers import certificate, new_hook, serving
from sources import ROOT

from capsules.errors import Invalid
from somagent.notifications.notification import Notification, NotSent, sample_notification
from somagent.notifications.webhook import Webhook, is_allowed
from somagent.settings import SecretReference

SECRET = "a secret of many characters"


@pytest.fixture
def secret(tmp_path: Path) -> SecretReference:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return SecretReference(f"file:{file}")


@pytest.fixture(scope="module")
def documented_check() -> Any:
    """The recipe of the document, as a receiver would copy it."""
    [recipe] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notifications.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)
    return names["genuine"]


def new_notification() -> Notification:
    return sample_notification("acme", id_="test-1", at=datetime.now(UTC), by="ana – «Zürich»")


async def test_a_notice_is_posted_and_its_signature_passes_the_documented_recipe(secret, documented_check):
    sent = new_notification()
    with serving(new_hook()) as hook:
        said = await Webhook(hook.url, secret, reach="loopback").send(sent)
    [posted] = hook.got
    header = posted.headers["x-somaagent-signature"]
    assert "204" in said
    assert posted.headers["x-somaagent-event-id"] == "test-1"
    assert posted.headers["host"] == f"127.0.0.1:{hook.port}"
    assert Notification.model_validate_json(posted.body) == sent
    assert documented_check(header, posted.body, SECRET.encode())
    assert not documented_check(header, posted.body + b" ", SECRET.encode())
    assert not documented_check(header, posted.body, b"another secret of many")


async def test_a_signature_of_long_ago_is_not_genuine(secret, documented_check):
    with serving(new_hook()) as hook:
        await Webhook(hook.url, secret, reach="loopback", clock=lambda: time.time() - 3600).send(new_notification())
    [posted] = hook.got
    assert not documented_check(posted.headers["x-somaagent-signature"], posted.body, SECRET.encode())


async def test_a_secret_that_is_written_anew_signs_the_next_notice(secret, documented_check):
    with serving(new_hook()) as hook:
        webhook = Webhook(hook.url, secret, reach="loopback")
        await webhook.send(new_notification())
        Path(secret.reference.removeprefix("file:")).write_text("the next secret of many")
        await webhook.send(new_notification())
    last = hook.got[-1]
    assert documented_check(last.headers["x-somaagent-signature"], last.body, b"the next secret of many")


@pytest.mark.parametrize(("status", "final"), [(302, False), (400, False), (500, False), (410, True)])
async def test_any_answer_but_2xx_is_a_failure_and_a_redirect_is_not_followed(secret, status, final):
    with serving(new_hook(status)) as hook:
        with pytest.raises(NotSent, match=str(status)) as refused:
            await Webhook(hook.url, secret, reach="loopback").send(new_notification())
        assert (len(hook.got), refused.value.final) == (1, final)


async def test_nobody_who_listens_is_a_failure_that_says_so(secret):
    with pytest.raises(NotSent, match="cannot be reached"):
        await Webhook(new_hook().url, secret, reach="loopback").send(new_notification())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"])
async def test_nothing_near_is_reached_unless_it_is_allowed(secret, host):
    with serving(new_hook()) as hook:
        with pytest.raises(NotSent, match="SOMAGENT_NOTIFY_REACH"):
            await Webhook(f"https://{host}:{hook.port}/", secret, reach="public").send(new_notification())
        assert hook.got == []


@pytest.mark.parametrize(
    ("address", "reach", "may"),
    [
        ("8.8.8.8", "public", True),
        ("2606:4700::1111", "public", True),
        ("127.0.0.1", "public", False),
        ("::ffff:127.0.0.1", "public", False),
        ("127.0.0.1", "loopback", True),
        ("10.1.2.3", "loopback", False),
        ("10.1.2.3", "private", True),
        ("fd00::1", "private", True),
        ("::1", "private", True),
        ("169.254.169.254", "private", False),
        ("fe80::1", "private", False),
        ("::ffff:169.254.169.254", "private", False),
        ("64:ff9b::a9fe:a9fe", "private", False),
        ("2002:7f00:1::", "private", False),
        ("224.0.0.1", "private", False),
        ("0.0.0.0", "private", False),
        ("100.64.0.1", "public", False),
    ],
)
def test_which_addresses_may_be_reached(address, reach, may):
    assert is_allowed(ipaddress.ip_address(address), reach) is may


@pytest.mark.parametrize(
    ("url", "reach", "why"),
    [
        ("http://hooks.example.org/", "public", "must be https"),
        ("ftp://hooks.example.org/", "public", "no https"),
        ("hooks.example.org", "public", "no https"),
        ("https://ana:word@hooks.example.org/", "public", "name or password"),
        ("https://hooks.example.org:many/", "public", "no address"),
    ],
)
async def test_an_address_that_is_no_safe_one_is_refused(secret, url, reach, why):
    with pytest.raises(Invalid, match=why):
        await Webhook(url, secret, reach=reach).send(new_notification())


@pytest.mark.parametrize("reference", ["env:SOMAGENT_TEST_NOTHING_HERE", "file:/nowhere/at/all", "hunter2"])
async def test_without_a_secret_nothing_is_sent(reference):
    with serving(new_hook()) as hook:
        with pytest.raises(Invalid, match=re.escape(reference)):
            await Webhook(hook.url, SecretReference(reference), reach="loopback").send(new_notification())
        assert hook.got == []


async def test_a_short_secret_is_refused_and_not_told(secret):
    Path(secret.reference.removeprefix("file:")).write_text("short")
    with pytest.raises(Invalid, match="16 are needed") as refused:
        await Webhook(new_hook().url, secret, reach="loopback").send(new_notification())
    assert "short" not in refused.value.message.replace(secret.reference, "")


async def test_a_certificate_that_nobody_vouches_for_is_refused(secret, tmp_path):
    server, _ = certificate(tmp_path)
    with serving(new_hook(), tls=server) as hook:
        with pytest.raises(NotSent, match="certificate"):
            await Webhook(f"https://localhost:{hook.port}/", secret, reach="loopback").send(new_notification())
        assert hook.got == []


async def test_the_certificate_must_be_the_names_that_was_set(secret, tmp_path):
    server, trusting = certificate(tmp_path)
    with serving(new_hook(), tls=server) as hook:
        await Webhook(f"https://localhost:{hook.port}/", secret, reach="loopback", trusted=trusting).send(
            new_notification()
        )
        with pytest.raises(NotSent, match="certificate"):
            await Webhook(f"https://127.0.0.1:{hook.port}/", secret, reach="loopback", trusted=trusting).send(
                new_notification()
            )
        assert len(hook.got) == 1


def test_the_body_is_what_the_document_lists():
    document = (ROOT / "docs" / "notifications.md").read_text("utf-8")
    listed = document.partition("A POST with a JSON body: ")[2].partition(".\n")[0]
    assert re.findall(r"`(\w+)`", listed) == list(json.loads(new_notification().model_dump_json()))
