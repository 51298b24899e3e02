"""Notifications: what people were told and what could not be delivered, and a test of the channels."""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.access import ApprovalReader, PrincipalManager
from api.deps import Cursor, PageLimit, Soma
from api.middleware.problems import responses
from capsules.base_model import FrozenModel, Page
from capsules.errors import Conflict, SomaError
from capsules.events import Delivery, DeliveryState
from somagent.notifications.channels import channels
from somagent.notifications.notification import Channel, Notification, NotSent, sample_notification

router = APIRouter(prefix="/v1/notifications", tags=["approvals"])


class Tried(FrozenModel):
    """What one channel did with a test."""

    channel: str
    sent: bool
    said: str = Field(description="What the other side said, or why it could not be reached.")


class Trial(FrozenModel):
    """What became of a test, by channel."""

    event: str = Field(description="Event id that the test carries.")
    channels: tuple[Tried, ...]


@router.get("", responses=responses())
async def list_deliveries(
    caller: ApprovalReader,
    soma: Soma,
    state: Annotated[DeliveryState | None, Query(description="Only those in this state.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Delivery]:
    """List what people were told, newest event first: `dead` is what never arrived."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.deliveries.list(state=state, cursor=cursor, limit=limit)


@router.post("/test", responses=responses(409))
async def test(caller: PrincipalManager, soma: Soma) -> Trial:
    """Send a test by every channel that is set, now and once, and say what came of it."""
    known = channels(soma.settings)
    if not known:
        raise Conflict(
            "No channel is set. Set SOMAGENT_NOTIFY_WEBHOOK_URL or SOMAGENT_NOTIFY_MAIL_TO and start the stack again."
        )
    notification = sample_notification(
        caller.tenant, id_=f"test-{uuid.uuid4().hex}", at=dt.datetime.now(dt.UTC), by=caller.subject
    )
    return Trial(event=notification.id, channels=tuple([await _try(channel, notification) for channel in known]))


async def _try(channel: Channel, notification: Notification) -> Tried:
    try:
        return Tried(channel=channel.name, sent=True, said=await channel.send(notification))
    except (NotSent, SomaError) as error:
        return Tried(channel=channel.name, sent=False, said=str(error))
