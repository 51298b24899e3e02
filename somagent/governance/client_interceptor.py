"""Client interceptor: adds a start authority to every start of a workflow of the application.

The authority names the actor, the workflow and the account. Its token is encrypted with SomaGent's codec key,
whatever converter the application uses, so that the history does not show it.
"""

import time
import uuid
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
    UpdateWithStartStartWorkflowInput,
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

_start_actor: ContextVar[tuple[str, str | None] | None] = ContextVar("somagent_acting", default=None)
"""Actor and account of the starts inside `on_behalf_of`."""


@contextmanager
def on_behalf_of(actor: str, *, account: str | None = None) -> Iterator[None]:
    """Start workflows on behalf of `actor`, paid from `account`, in place of the actor and account of the terms."""
    token = _start_actor.set((actor, account))
    try:
        yield
    finally:
        _start_actor.reset(token)


@dataclass(frozen=True)
class StartTokens:
    """Makes the encrypted header with the authority of a start, and reads its token at the gate."""

    terms: Terms
    tokens: Tokens
    codec: EncryptionCodec

    async def make_header(self, run: str, *, workflow: str, queue: str, schedule: str | None = None) -> Payload:
        """Return the encrypted header for the runs whose id begins with `run`, of one workflow type on one queue.

        schedule: the id of the schedule whose starts it covers; unset, it covers one start.
        """
        application = self.terms.application
        actor, account = _start_actor.get() or (self.terms.actor, None)
        authority = Authority(
            kind="start",
            tenant=application.tenant,
            actor=actor,
            run=run,
            prefix=True,
            account=account or self.terms.funding_account,
            capsules={application.ref: digest(application)},
            workflow_type=workflow,
            queue=queue,
            schedule=schedule,
            nonce=uuid.uuid4().hex,
            expires_at=int(time.time() + self.terms.authority_lifetime.total_seconds()),
        )
        token = self.tokens.mint_authority(authority)
        [encrypted] = await self.codec.encode([PayloadConverter.default.to_payload(token)])
        return encrypted

    async def read_token(self, header: Payload | None) -> str | None:
        """Return the token in a header; None when there is no header or it is not encrypted.

        Raises TamperedContent when the header cannot be decrypted.
        """
        if header is None or header.metadata.get("encoding") != b"binary/encrypted":
            return None
        _, decrypted = self.codec.open(header)
        token: str = PayloadConverter.default.from_payload(decrypted, str)
        return token


class StartInterceptor(OutboundInterceptor):
    """Adds the header to each way of starting a workflow: plain, with a signal or an update, by a schedule."""

    def __init__(self, next: OutboundInterceptor, start_tokens: StartTokens) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._start_tokens = start_tokens

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = {**input.headers, AUTHORITY: await self._authority(input)}
        return await super().start_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> WorkflowUpdateHandle[Any]:
        start = input.start_workflow_input
        start.headers = {**start.headers, AUTHORITY: await self._authority(start)}
        return await super().start_update_with_start_workflow(input)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002
        action = input.schedule.action
        if isinstance(action, ScheduleActionStartWorkflow):
            application = self._start_tokens.terms.application
            # Temporal appends a hyphen and the time of each start to the id.
            if segment(f"{action.id}-0000-00-00T00:00:00Z") != f"{action.id}-0000-00-00T00:00:00Z":
                raise Invalid(
                    f"The schedule's workflow id {action.id!r} is too long or has characters that a run's id cannot "
                    "hold; use up to 59 letters, digits, dots, colons, hyphens and underscores."
                )
            header = await self._start_tokens.make_header(
                f"{application.tenant}/{application.name}/{action.id}-",
                workflow=action.workflow,
                queue=action.task_queue,
                schedule=input.id,
            )
            action.headers = {**(action.headers or {}), AUTHORITY: header}
            input.schedule = replace(input.schedule, action=action)
        return await super().create_schedule(input)

    async def _authority(self, start: StartWorkflowInput | UpdateWithStartStartWorkflowInput) -> Payload:
        return await self._start_tokens.make_header(
            self._start_tokens.terms.application.runs_of(start.id), workflow=start.workflow, queue=start.task_queue
        )
