"""Channels of notifications that the settings configure; none by default."""

from somagent.notifications.mail import Mail
from somagent.notifications.notification import Channel
from somagent.notifications.webhook import Webhook
from somagent.settings import SecretReference, Settings


def channels(settings: Settings) -> tuple[Channel, ...]:
    """Return the configured channels."""
    found: list[Channel] = []
    if settings.notify_webhook_url is not None:
        found.append(
            Webhook(
                url=settings.notify_webhook_url.get_secret_value(),
                secret=SecretReference(settings.notify_webhook_secret or ""),
                reach=settings.notify_reach,
            )
        )
    if settings.notify_mail_to:
        password = settings.notify_smtp_password
        found.append(
            Mail(
                host=settings.notify_smtp_host,
                port=settings.notify_smtp_port,
                tls=settings.notify_smtp_tls,
                sender=settings.notify_mail_from or "",
                to=settings.notify_mail_to,
                user=settings.notify_smtp_user,
                password=None if password is None else SecretReference(password),
            )
        )
    return tuple(found)
