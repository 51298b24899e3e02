"""Notifications: their deliveries, and a test of the channels."""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import Query
from pydantic import Field

from api.access import ApprovalReader, PrincipalManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit
from capsules.base_model import FrozenModel, Page
from capsules.errors import Conflict, SomaError
from capsules.events import Delivery, DeliveryState
from somagent.notifications.channels import channels
from somagent.notifications.notification import Channel, Notification, NotSent, sample_notification

router = resource_router("/v1/notifications", "approvals")


class ChannelResult(FrozenModel):
    """Result of a test on one channel."""

    channel: str
    sent: bool
    said: str = Field(description="Answer of the receiving server, or why the test could not be sent.")


class NotificationTestResponse(FrozenModel):
    """Results of a test, one for each channel."""

    event: str = Field(description="Id of the event in the test message.")
    channels: tuple[ChannelResult, ...]


@router.get("")
async def list_deliveries(
    caller: ApprovalReader,
    state: StateDep,
    wanted: Annotated[DeliveryState | None, Query(alias="state", description="Only deliveries in this state.")] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Delivery]:
    """List deliveries of notifications, newest event first. `dead`: every attempt failed."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.deliveries.list(state=wanted, cursor=cursor, limit=limit)


@router.post("/test", responses=responses(409))
async def test(caller: PrincipalManager, state: StateDep) -> NotificationTestResponse:
    """Send one test message on every configured channel and return the results."""
    configured = channels(state.settings)
    if not configured:
        raise Conflict(
            "No channel is set. Set SOMAGENT_NOTIFY_WEBHOOK_URL or SOMAGENT_NOTIFY_MAIL_TO and restart the stack."
        )
    message = sample_notification(
        caller.tenant, id_=f"test-{uuid.uuid4().hex}", at=dt.datetime.now(dt.UTC), by=caller.subject
    )
    return NotificationTestResponse(
        event=message.id, channels=tuple([await _send(channel, message) for channel in configured])
    )


async def _send(channel: Channel, message: Notification) -> ChannelResult:
    try:
        return ChannelResult(channel=channel.name, sent=True, said=await channel.send(message))
    except (NotSent, SomaError) as error:
        return ChannelResult(channel=channel.name, sent=False, said=str(error))
