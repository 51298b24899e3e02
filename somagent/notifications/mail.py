"""E-mail channel. The standard library's SMTP client blocks, so each message is sent in a thread."""

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
from somagent.notifications.notification import Notification, NotSent
from somagent.settings import SecretReference

Tls = Literal["starttls", "tls", "none"]
TIMEOUT_SECONDS = 10
FINAL = range(500, 600)  # SMTP codes of permanent failures
UNFOLDED = SMTP.clone(max_line_length=800)
"""Many readers show an extra space in a folded subject; SMTP allows lines of 998 characters."""


@dataclass(frozen=True)
class Mail:
    """Sends notifications through one mail server. trusted: certificates to trust; None means the system's."""

    host: str
    port: int
    tls: Tls
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password: SecretReference | None = None
    trusted: ssl.SSLContext | None = None
    name: str = "mail"

    async def send(self, notification: Notification) -> str:
        """Hand the notification to the mail server and return its answer. Raises NotSent, Invalid."""
        message = self.message(notification)
        try:
            return await asyncio.to_thread(self._submit, message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise NotSent(
                f"{self.host} refused every address: {_list_answers(error.recipients)}", final=codes <= {*FINAL}
            ) from error
        except smtplib.SMTPResponseException as error:
            # A wrong password or greeting can be corrected; a message that was refused stays refused.
            refused = isinstance(error, smtplib.SMTPDataError) and error.smtp_code in FINAL
            raise NotSent(
                f"{self.host} answered {error.smtp_code} {_decode(error.smtp_error)}", final=refused
            ) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"{self.host}:{self.port} cannot be used: {type(error).__name__} {error}") from error

    def message(self, notification: Notification) -> EmailMessage:
        """Return the e-mail. Its Message-ID depends on the notification only, so that readers can drop a copy."""
        message = EmailMessage(policy=UNFOLDED)
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Subject"] = f"[somagent {notification.tenant}] {notification.title}"
        message["Date"] = format_datetime(notification.at)
        message["Message-ID"] = (
            f"<{notification.tenant}.{notification.id}@{self.sender.rpartition('@')[2].rstrip('>')}>"
        )
        message["Auto-Submitted"] = "auto-generated"
        message["X-SomaAgent-Event-Id"] = notification.id
        message.set_content(notification.text + (f"\n{notification.url}\n" if notification.url else ""))
        return message

    def _submit(self, message: EmailMessage) -> str:
        password = None if self.user is None else self._password()
        with self._connect() as server:
            if self.tls == "starttls":
                server.starttls(context=self._context())
            if self.user is not None and password is not None:
                server.login(self.user, password)
            refused = server.send_message(message)
        but = f", which refused {_list_answers(refused)}" if refused else ""
        return f"Handed to {self.host}:{self.port}{but}."

    def _connect(self) -> smtplib.SMTP:
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=self._context())
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)

    def _context(self) -> ssl.SSLContext:
        return self.trusted or ssl.create_default_context()

    def _password(self) -> str:
        if self.password is None:
            raise Invalid(
                "SOMAGENT_NOTIFY_SMTP_USER is set; say with SOMAGENT_NOTIFY_SMTP_PASSWORD where its password is."
            )
        if self.tls == "none" and not _is_local(self.host):
            raise Invalid(f"A password is not sent to {self.host!r} in clear: set SOMAGENT_NOTIFY_SMTP_TLS.")
        return self.password.read()


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _list_answers(recipients: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{address}: {code} {_decode(words)}" for address, (code, words) in recipients.items())


def _decode(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words
