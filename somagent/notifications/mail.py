"""Notices by e-mail. The standard library's client blocks, so each message has a thread while it is handed over."""

import asyncio
import contextlib
import ipaddress
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from capsules.errors import Invalid
from somagent.notifications.notification import Notice, NotSent
from somagent.notifications.secret import SecretReference

Tls = Literal["starttls", "tls", "none"]
SECONDS = 10
FINAL = range(500, 600)
UNFOLDED = SMTP.clone(max_line_length=800)
"""A folded subject keeps a space too many in many readers; lines may have 998 characters."""


@dataclass(frozen=True)
class Mail:
    host: str
    port: int
    tls: Tls
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password: SecretReference | None = None
    trusted: ssl.SSLContext | None = None
    """What a server's certificate is checked against; the system's authorities unless given."""
    name: str = "mail"

    async def send(self, notice: Notice) -> str:
        """Hand the notice to the mail server. What happens behind it, no sender learns."""
        message = self.message(notice)
        try:
            return await asyncio.to_thread(self._hand_over, message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise NotSent(
                f"{self.host} refused every address: {_said(error.recipients)}", final=codes <= {*FINAL}
            ) from error
        except smtplib.SMTPResponseException as error:
            # A wrong password or greeting may be put right; a message that was read and refused may not.
            refused = isinstance(error, smtplib.SMTPDataError) and error.smtp_code in FINAL
            raise NotSent(f"{self.host} answered {error.smtp_code} {_text(error.smtp_error)}", final=refused) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"{self.host}:{self.port} cannot be used: {type(error).__name__} {error}") from error

    def message(self, notice: Notice) -> EmailMessage:
        """Return the e-mail; the same notice has the same Message-ID, so that readers can drop a second one."""
        message = EmailMessage(policy=UNFOLDED)
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Subject"] = f"[somagent {notice.tenant}] {notice.title}"
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = f"<{notice.tenant}.{notice.id}@{self.sender.rpartition('@')[2].rstrip('>')}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-SomaAgent-Event-Id"] = notice.id
        message.set_content(notice.text + (f"\n{notice.url}\n" if notice.url else ""))
        return message

    def _hand_over(self, message: EmailMessage) -> str:
        password = None if self.user is None else self._password()
        with self._connected() as server:
            if self.tls == "starttls":
                server.starttls(context=self._context())
            if self.user is not None and password is not None:
                server.login(self.user, password)
            refused = server.send_message(message)
        but = f", which refused {_said(refused)}" if refused else ""
        return f"Handed to {self.host}:{self.port}{but}."

    def _connected(self) -> smtplib.SMTP:
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=self._context())
        return smtplib.SMTP(self.host, self.port, timeout=SECONDS)

    def _context(self) -> ssl.SSLContext:
        return self.trusted or ssl.create_default_context()

    def _password(self) -> str:
        if self.password is None:
            raise Invalid(
                "SOMAGENT_NOTIFY_SMTP_USER is set; say with SOMAGENT_NOTIFY_SMTP_PASSWORD where its password is."
            )
        if self.tls == "none" and not _here(self.host):
            raise Invalid(f"A password is not sent to {self.host!r} in clear: set SOMAGENT_NOTIFY_SMTP_TLS.")
        return self.password.read()


def _here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _said(recipients: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{address}: {code} {_text(words)}" for address, (code, words) in recipients.items())


def _text(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words
