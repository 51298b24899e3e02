"""Activity interceptor of a governed application: enrols the run, asks the gate, runs the body, records the result.

An activity of an application returns a type of the application. The result is recorded as the payload that the
application's converter makes of it. A retry gets the value that the converter reads from that payload.
"""

import contextlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from inspect import unwrap
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadConverter
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from capsules.actions.action import Action
from capsules.actions.activity_context import Meter, meter_usage
from capsules.actions.headers import AUTHORITY, AWAITED_APPROVAL
from capsules.actions.ledger_messages import AttemptKey
from capsules.actions.verdict import Outcome
from capsules.approvals.approval import Approval, ApprovalRequest
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import ApprovalRequired, EffectFailed, PolicyDenied, SomaError, UngovernedActivity
from capsules.governance.governed import Governed, marker_of
from policy.gate import Gate
from policy.interceptor import GatedInbound
from policy.temporal_errors import to_failure
from somagent.governance.client_interceptor import StartTokens
from somagent.governance.enrolment import Enrolments

CLOCK_SKEW = timedelta(seconds=5)
"""How far the clocks of Temporal and PostgreSQL may be apart."""


class GovernedActivityInterceptor(GatedInbound):
    """Governs one attempt of an activity."""

    def __init__(
        self,
        next: ActivityInboundInterceptor,  # noqa: A002 - the SDK's name
        gate: Gate,
        *,
        start_tokens: StartTokens,
        enrolments: Enrolments,
        clients: Mapping[str, Client],
    ) -> None:
        super().__init__(next, gate)
        self._start_tokens = start_tokens
        self._enrolments = enrolments
        self._clients = clients
        self._terms = enrolments.terms
        self._meter = Meter()
        self._upper_bound = Amounts()
        self._returned: tuple[Any] | None = None

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        kind = activity.info().activity_type
        if kind in self._terms.platform:
            return await self.next.execute_activity(input)
        marker = marker_of(input.fn)
        if marker is None or activity.info().is_local:
            what = "is a local activity" if marker else "is neither marked @governed nor on the platform's list"
            raise to_failure(UngovernedActivity(f"Activity {kind!r} {what}; it does not run."))
        workflow_waits = input.headers.get(AWAITED_APPROVAL)
        try:
            return await self._admit(input, marker, workflow_waits)
        except ApprovalRequired as error:
            if workflow_waits is not None or not self._terms.wait_for_approval or "state" in error.fields:
                raise to_failure(error) from None
            # The next attempt finds the decision in the database.
            raise to_failure(error, retry_in=self._terms.retry_interval) from None
        except SomaError as error:
            raise to_failure(error) from None

    async def _admit(self, input: ExecuteActivityInput, marker: Governed, waited: Payload | None) -> Any:  # noqa: A002, ANN401
        info = activity.info()
        if info.workflow_id is None or info.workflow_run_id is None:
            raise PolicyDenied("A governed activity belongs to a workflow; this one was started by itself.")
        action = marker.to_action(
            input.args,
            target=self._terms.application.target(info.activity_type),
            arguments=digest(_encode(input.args)),
        )
        self._upper_bound = action.cost
        token = await self._start_tokens.read_token(input.headers.get(AUTHORITY))
        client = self._clients[info.workflow_namespace or info.namespace]
        enrolment, start = await self._enrolments.enrol(client, info.workflow_id, info.workflow_run_id, token)
        approval = PayloadConverter.default.from_payload(waited, str) if waited is not None else ""
        if approval or (info.attempt > 1 and waited is None):
            await self._check_approval(enrolment.run, action, approval, since=info.scheduled_time - CLOCK_SKEW)
        outcome = await self.govern(
            input,
            action,
            key=AttemptKey(
                tenant=start.tenant,
                run=enrolment.run,
                execution=info.workflow_run_id,
                activity=info.activity_id,
                attempt=info.attempt,
            ),
            token=self._enrolments.exchange(enrolment, start, action),
        )
        return self._returned[0] if self._returned else _restore_result(outcome.value, input.fn)

    async def body(self, input: ExecuteActivityInput) -> Outcome[Any]:  # noqa: A002
        """Run the activity; return its result as the application's converter writes it."""
        with meter_usage() as self._meter:
            value = await self.next.execute_activity(input)
        self._returned = (value,)
        used = self._meter.used
        try:
            kept = _encode([value])
        except Exception as error:
            # Not retried: the effect took place.
            raise EffectFailed(
                f"{activity.info().activity_type} took effect, but what it returned cannot be kept: {error}"
            ) from error
        return Outcome(value=kept, usage=used or self._upper_bound, estimated=used is None)

    def arguments(self, input: ExecuteActivityInput) -> Sequence[Any]:  # noqa: A002
        """Return the input as the converter writes it, so that detectors see the fields of an object of any class."""
        return [_decode(payload) for payload in activity.payload_converter().to_payloads(input.args)]

    def usage_of(self, error: Exception) -> Amounts | None:
        """Return the reported usage, or the upper bound when the body had returned before the failure."""
        return self._meter.used or (self._upper_bound if self._returned else super().usage_of(error))

    def heartbeats(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Send no heartbeats: they would hide an activity that hangs, and overwrite the details of its own."""
        return contextlib.nullcontext()

    async def _check_approval(self, run: str, action: Action, approval: str, *, since: datetime) -> None:
        """Return when no approval stands in the way of this action.

        Raises ApprovalRequired while its approval is pending or when it expired, PolicyDenied if a person denied it.
        """
        found = await self._find_approval(run, action, approval, since)
        if found is None or found.state in {"approved", "used"}:
            return
        if found.state == "denied":
            comment = f": {found.comment}" if found.comment else ""
            raise PolicyDenied(
                f"{action.kind} on {action.target} was not approved: {found.decided_by} said no{comment}.",
                action=action.kind,
                target=action.target,
                approval=found.id,
            )
        if found.state != "pending":
            sentence = f"Nobody decided in time ({found.expires_at.isoformat()}): {found.sentence}"
            raise ApprovalRequired(sentence, approval=_summarize(found), state=found.state)
        raise ApprovalRequired(found.sentence, approval=_summarize(found))

    async def _find_approval(self, run: str, action: Action, approval: str, since: datetime) -> Approval | None:
        wanted = action.digest()
        async with self._enrolments.db.transaction(self._terms.application.tenant) as tx:
            known = approval or await tx.applications.last_approval(run, wanted, since)
            found = await tx.approvals.get(known) if known else None
        return found if found and found.run == run and found.action == wanted else None


def _summarize(approval: Approval) -> dict[str, Any]:
    return approval.model_dump(mode="json", include=set(ApprovalRequest.model_fields))


def _encode(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [MessageToDict(payload) for payload in activity.payload_converter().to_payloads(values)]


def _decode(payload: Payload) -> Any:  # noqa: ANN401 - any JSON value, or bytes
    return json.loads(payload.data) if payload.metadata.get("encoding", b"").startswith(b"json/") else payload.data


def _restore_result(kept: list[dict[str, Any]], function: Callable[..., Any]) -> Any:  # noqa: ANN401 - its declared type
    try:
        declared = typing.get_type_hints(unwrap(function)).get("return")
    except NameError:  # a name that only type checkers know
        declared = None
    payloads = [ParseDict(each, Payload()) for each in kept]
    [value] = activity.payload_converter().from_payloads(payloads, [declared] if declared else None)
    return value
