"""Notification: the message to a person about an event, with the CLI commands that answer it; and the port `Channel`.

A notification contains no arguments and no content of a run.
"""

import re
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import Field

from capsules.approvals.approval import Approval
from capsules.base_model import FrozenModel
from capsules.events import TYPES, Event
from capsules.runs.url import run_path

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

MAX_TITLE = 200


class Notification(FrozenModel):
    """A message to people. Its JSON is the body that a webhook gets."""

    id: str = Field(description="Id of the event; the same id is the same notification.")
    type: str
    tenant: str
    run: str | None
    at: datetime
    title: str
    text: str
    commands: tuple[str, ...] = Field((), description="CLI commands that show and answer it.")
    url: str | None = Field(None, description="API URL of the approval, run or proposal.")
    approval: Approval | None = Field(None, description="The approval when this was sent.")
    data: dict[str, Any] = Field(default_factory=dict, description="Data of the event.")


def compose(event: Event, approval: Approval | None, *, api: str) -> Notification:
    """Return the notification of an event. approval: the approval of the event, if any; api: base URL of the API."""
    title, lines, commands, url = _compose_parts(event, approval)
    if commands:
        lines = [*lines, "", *(f"    {command}" for command in commands)]
    return Notification(
        id=str(event.id),
        type=event.type,
        tenant=event.tenant,
        run=event.run,
        at=event.at,
        title=to_one_line(title)[:MAX_TITLE],
        text="\n".join(to_one_line(one) if one.strip() else "" for one in lines) + "\n",
        commands=commands,
        url=f"{api}{url}" if url else None,
        approval=approval,
        data=event.data,
    )


def sample_notification(tenant: str, *, id_: str, at: datetime, by: str) -> Notification:
    """Return a notification that tests a channel."""
    text = f"{by} asked for this with `somagent notify test`. Nothing waits for you.\n"
    return Notification(id=id_, type="test", tenant=tenant, run=None, at=at, title="A test of notifications", text=text)


def to_one_line(text: str) -> str:
    """Return a text as one line without control characters, safe for a terminal and a header."""
    indent = len(text) - len(text.lstrip(" "))
    return " " * indent + _UNPRINTABLE.sub(" ", text).strip()


Parts = tuple[str, list[str], tuple[str, ...], str | None]
"""Title, lines of text, commands, and the path of the resource in the API."""


def _compose_parts(event: Event, approval: Approval | None) -> Parts:
    if event.type in {"approval.requested", "approval.escalated"} and approval is not None:
        return _approval_parts(event, approval)
    if approval is not None:
        return _outcome_parts(event, approval)
    if event.type == "budget.requested":
        return _budget_parts(event)
    if event.type == "constitution.proposed":
        return _proposal_parts(event)
    return _other_parts(event)


def _approval_parts(event: Event, approval: Approval) -> Parts:
    what, facts = f"{approval.kind} {approval.target}", _facts(approval)
    show, url = _show_command(approval), _approval_url(approval)
    if approval.state != "pending":
        return f"{what} waited, and is {approval.state} already", facts, (show,), url
    commands = (show, f"somagent approve {approval.id}", f"somagent deny {approval.id}")
    if event.type == "approval.requested":
        return f"{what} waits for your yes or no", facts, commands, url
    first = f"Nobody decided so far: whoever has {event.data.get('capability')} may decide too."
    return f"{what} still waits, now for you too", [first, *facts], commands, url


def _outcome_parts(event: Event, about: Approval) -> Parts:
    lines = [TYPES.get(event.type, event.type), *_list_data(event, without={"approval", "action"}), "", *_facts(about)]
    return f"{about.kind} {about.target}: {about.state}", lines, (_show_command(about),), _approval_url(about)


def _budget_parts(event: Event) -> Parts:
    run = event.run or ""
    lines = [f"Run {run} waits for a raise of its budget.", f"Why: {event.data.get('reason', '')}"]
    commands = (f"somagent budget show {run}", f"somagent budget raise {run} --tokens 1000")
    return f"{run} waits for budget", lines, commands, run_path(run, root="/v1/budgets/runs")


def _proposal_parts(event: Event) -> Parts:
    activation, by = event.data.get("activation"), event.data.get("proposed_by")
    whom = "everybody" if event.data.get("scope") == "*" else f"tenant {event.data.get('scope')}"
    commands = (f"somagent policy approve {activation}", f"somagent policy reject {activation}")
    lines = [f"{by} proposed it; it is proved.", *_list_data(event)]
    url = f"/v1/constitutions/activations/{activation}"
    return f"A constitution for {whom} waits for your yes or no", lines, commands, url


def _other_parts(event: Event) -> Parts:
    where = f" in {event.run}" if event.run else ""
    return f"{event.type}{where}", [TYPES.get(event.type, event.type), *_list_data(event)], (), None


def _facts(approval: Approval) -> list[str]:
    return [
        f"What: {approval.kind} {approval.target} in run {approval.run}",
        f"Why a person is asked: {approval.sentence}",
        f"Asked by {approval.requested_by}, of somebody else: {approval.describe_approvers()}",
        f"Until: {approval.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
    ]


def _list_data(event: Event, without: AbstractSet[str] = frozenset()) -> list[str]:
    plain = (str, int, float, bool)
    return [
        f"{name}: {value}" for name, value in event.data.items() if name not in without and isinstance(value, plain)
    ]


def _show_command(approval: Approval) -> str:
    return f"somagent approvals show {approval.id}"


def _approval_url(approval: Approval) -> str:
    return f"/v1/approvals/{approval.id}"


class NotSent(Exception):
    """A notification was not delivered. final: the receiver will never accept it, so it is not tried again."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Channel(Protocol):
    """A way to send notifications."""

    @property
    def name(self) -> str:
        """`webhook` or `mail`; deliveries are stored under it."""
        ...

    async def send(self, notification: Notification) -> str:
        """Send a notification and return the receiver's answer. Raises NotSent, or Invalid for wrong settings."""
        ...
