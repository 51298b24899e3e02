"""Workflow interceptor: passes the start's authority on to activities, child workflows and continue-as-new.

The encrypted header of the start is copied, so the application's workflows do not change. Calls that would bypass the
gate are refused: local activities, except those that the terms list as `platform`, and Nexus operations.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.worker import (
    ContinueAsNewInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    StartNexusOperationInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from capsules.actions.headers import AUTHORITY, AWAITED_APPROVAL, current_approval
from capsules.errors import UngovernedActivity
from policy.temporal_errors import to_failure

Headers = Mapping[str, Payload]


def propagating_interceptor(platform: frozenset[str], *, bound: bool) -> type[WorkflowInboundInterceptor]:
    """Return the interceptor class of an application's workflows.

    platform: activity types that skip the gate.
    bound: our codec is used, which binds payloads to activity ids. So each activity gets one that never repeats.
    """
    return type("AuthorityPropagation", (_Inbound,), {"platform": platform, "bound": bound})


class _Inbound(WorkflowInboundInterceptor):
    platform: ClassVar[frozenset[str]]
    bound: ClassVar[bool]

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound, self.platform, bound=self.bound))


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor, platform: frozenset[str], *, bound: bool) -> None:  # noqa: A002
        super().__init__(next)
        self._platform = platform
        self._bound = bound

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = _with_authority(input.headers)
        if self._bound and input.activity_id is None and workflow.patched("somagent-activity-ids"):
            input.activity_id = str(workflow.uuid4())
        approval = current_approval()
        if approval is not None:
            input.headers = {**input.headers, AWAITED_APPROVAL: PayloadConverter.default.to_payload(approval)}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        if input.activity not in self._platform:
            _refuse(f"local activity {input.activity!r}: it would bypass the gate; call it as a regular activity")
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = _with_authority(input.headers)
        return await super().start_child_workflow(input)

    async def start_nexus_operation(self, input: StartNexusOperationInput[Any, Any]) -> Any:  # noqa: A002, ANN401
        _refuse(f"Nexus operation {input.operation_name!r}: the gate does not see what it does")

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        input.headers = _with_authority(input.headers)
        super().continue_as_new(input)


def _with_authority(headers: Headers) -> Headers:
    """Return the headers and, if this workflow was started with an authority, that authority."""
    authority = workflow.info().headers.get(AUTHORITY)
    return {**headers, AUTHORITY: authority} if authority is not None else headers


def _refuse(what: str) -> NoReturn:
    raise to_failure(UngovernedActivity(f"A governed workflow may not ask for this: {what}."))
