"""E-mail to a real mail server: encrypted where it is asked for, one message for one notice, and honest failures."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult
from receivers import Mailbox, certificate, new_mailbox, receiving

from capsules.errors import Invalid
from somagent.notifications.mail import Mail
from somagent.notifications.notification import Notification, NotSent, sample_notification, to_one_line
from somagent.settings import SecretReference


def new_notification() -> Notification:
    return sample_notification("acme", id_="4711", at=datetime.now(UTC), by="ana – «Zürich»")


def mail(mailbox: Mailbox, **changes) -> Mail:
    given = {"host": "localhost", "port": mailbox.port, "tls": "none", "sender": "soma@acme.example"}
    return Mail(**(given | {"to": ("ops@acme.example", "ana@acme.example")} | changes))


@pytest.fixture
def password(tmp_path: Path) -> SecretReference:
    (tmp_path / "password").write_text("open sesame\n")
    return SecretReference(f"file:{tmp_path / 'password'}")


@pytest.fixture
def tls_contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path)


async def test_a_notice_arrives_as_one_message_to_all(tls_contexts):
    sent = new_notification()
    with receiving(new_mailbox()) as mailbox:
        said = await mail(mailbox).send(sent)
    [message] = mailbox.got
    assert "Handed to" in said
    assert mailbox.recipients == ["ops@acme.example", "ana@acme.example"]
    assert message["Subject"] == "[somagent acme] A test of notifications"
    assert message["Message-ID"] == "<acme.4711@acme.example>"
    assert message["X-SomaAgent-Event-Id"] == "4711"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "«Zürich»" in message.get_content()


async def test_starttls_encrypts_and_checks_the_certificate(tls_contexts, password):
    server, trusting = tls_contexts
    with receiving(new_mailbox(), tls_context=server, require_starttls=True) as mailbox:
        await mail(mailbox, tls="starttls", trusted=trusting).send(new_notification())
        assert mailbox.encrypted == [True]
        with pytest.raises(NotSent, match="certificate verify failed"):
            await mail(mailbox, tls="starttls").send(new_notification())
        assert len(mailbox.got) == 1


async def test_a_server_without_starttls_gets_nothing_in_clear():
    with receiving(new_mailbox()) as mailbox:
        with pytest.raises(NotSent, match="STARTTLS"):
            await mail(mailbox, tls="starttls").send(new_notification())
        assert mailbox.got == []


async def test_a_login_is_made_with_the_password_from_its_reference(tls_contexts, password):
    server, trusting = tls_contexts
    tried = []

    def check(server, session, envelope, mechanism, data) -> AuthResult:
        tried.append((data.login, data.password))
        return AuthResult(success=data.password == b"open sesame", handled=False)

    options = {"tls_context": server, "authenticator": check, "auth_required": True}
    with receiving(new_mailbox(), **options) as mailbox:
        known = {"tls": "starttls", "trusted": trusting, "user": "soma"}
        await mail(mailbox, password=password, **known).send(new_notification())
        Path(password.reference.removeprefix("file:")).write_text("wrong")
        with pytest.raises(NotSent, match="535") as refused:
            await mail(mailbox, password=password, **known).send(new_notification())
    assert tried[0] == (b"soma", b"open sesame")
    assert len(mailbox.got) == 1
    assert not refused.value.final, "somebody may put the password right"


async def test_a_password_is_not_sent_in_clear_to_another_machine(password):
    away = Mail(host="mail.example", port=25, tls="none", sender="s@x", to=("a@b",), user="soma", password=password)
    with pytest.raises(Invalid, match="in clear"):
        await away.send(new_notification())


async def test_a_recipient_that_is_refused_is_told_and_all_of_them_is_final():
    with receiving(new_mailbox()) as mailbox:
        said = await mail(mailbox, to=("ops@acme.example", "x@nobody.example")).send(new_notification())
        assert "x@nobody.example: 550" in said
        with pytest.raises(NotSent, match="550") as refused:
            await mail(mailbox, to=("x@nobody.example",)).send(new_notification())
        assert refused.value.final
        assert mailbox.recipients == ["ops@acme.example"]


async def test_nobody_who_listens_is_a_failure_to_try_again():
    with pytest.raises(NotSent, match="cannot be used") as refused:
        await mail(new_mailbox()).send(new_notification())
    assert not refused.value.final


async def test_a_title_from_outside_adds_no_header():
    title = to_one_line("x\r\nBcc: everybody@acme.example\u2028\x1b[2J")
    with receiving(new_mailbox()) as mailbox:
        await mail(mailbox).send(new_notification().model_copy(update={"title": title}))
    [message] = mailbox.got
    assert message["Bcc"] is None
    assert mailbox.recipients == ["ops@acme.example", "ana@acme.example"]
    assert message["Subject"] == "[somagent acme] x Bcc: everybody@acme.example [2J"
