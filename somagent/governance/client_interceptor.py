"""Stamps the start of every foreign workflow with an authority: who acts, for which workflow, on whose account.

The token travels sealed with our codec key, whatever converter the application uses: a history does not show it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    CreateScheduleInput,
    OutboundInterceptor,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.converter import PayloadConverter

from capsules.actions.headers import AUTHORITY
from capsules.digest import digest
from capsules.errors import Invalid
from capsules.governance.application import Terms, segment
from capsules.identity.authority import Authority
from somagent.identity.tokens import Tokens
from somagent.temporal.codec import EncryptionCodec


@dataclass(frozen=True)
class _Acting:
    actor: str
    account: str | None


_acting: ContextVar[_Acting | None] = ContextVar("somagent_acting", default=None)


@contextmanager
def acting(actor: str, *, account: str | None = None) -> Iterator[None]:
    """Start workflows inside on behalf of `actor`, paid from `account`, in place of what the terms say."""
    token = _acting.set(_Acting(actor, account))
    try:
        yield
    finally:
        _acting.reset(token)


@dataclass(frozen=True)
class StartTokens:
    """Mints the authority of a start and seals it for its way; opens it again at the gate."""

    terms: Terms
    tokens: Tokens
    codec: EncryptionCodec

    async def header(self, run: str) -> Payload:
        """Return the header for runs that begin with `run`."""
        application, who = self.terms.application, _acting.get()
        authority = Authority(
            kind="start",
            tenant=application.tenant,
            actor=who.actor if who else self.terms.actor,
            run=run,
            prefix=True,
            account=(who.account if who else None) or self.terms.pays,
            capsules={application.ref: digest(application)},
            expires_at=int(time.time() + self.terms.lasts.total_seconds()),
        )
        token = self.tokens.mint_authority(authority)
        [sealed] = await self.codec.encode([PayloadConverter.default.to_payload(token)])
        return sealed

    async def token(self, header: Payload | None) -> str | None:
        """Return the token in a header. One that is not sealed is as good as none. Raises TamperedContent."""
        if header is None or header.metadata.get("encoding") != b"binary/encrypted":
            return None
        [opened] = await self.codec.decode([header])
        found: str = PayloadConverter.default.from_payload(opened, str)
        return found


class StartInterceptor(OutboundInterceptor):
    """Client interceptor: every way to start a workflow."""

    def __init__(self, next: OutboundInterceptor, seal: StartTokens) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._seal = seal

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = {**input.headers, AUTHORITY: await self._authority(input.id)}
        return await super().start_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> WorkflowUpdateHandle[Any]:
        start = input.start_workflow_input
        start.headers = {**start.headers, AUTHORITY: await self._authority(start.id)}
        return await super().start_update_with_start_workflow(input)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002
        action = input.schedule.action
        if isinstance(action, ScheduleActionStartWorkflow):
            application = self._seal.terms.application
            # Temporal appends a hyphen and the time of each start to the id.
            if segment(f"{action.id}-0000-00-00T00:00:00Z") != f"{action.id}-0000-00-00T00:00:00Z":
                raise Invalid(
                    f"The schedule's workflow id {action.id!r} is too long or has characters that a run's id cannot "
                    "hold; use up to 59 letters, digits, dots, colons, hyphens and underscores."
                )
            stamped = await self._seal.header(f"{application.tenant}/{application.name}/{action.id}-")
            action.headers = {**(action.headers or {}), AUTHORITY: stamped}
            input.schedule = replace(input.schedule, action=action)
        return await super().create_schedule(input)

    async def _authority(self, workflow_id: str) -> Payload:
        return await self._seal.header(self._seal.terms.application.runs_of(workflow_id))
