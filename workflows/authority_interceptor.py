"""Authority interceptor, and the list of workflow types with what each may call.

The interceptor adds the workflow's authority to every activity, in a header for this one call. It refuses calls that
would bypass the gate: local activities, Nexus operations, signals to another tenant's run, and child workflows of other
types. A workflow of the platform itself starts no children and sends no signals. It may call only the activities that
are listed for it.
"""

from typing import Any, NoReturn, Protocol

from temporalio import workflow
from temporalio.converter import PayloadConverter
from temporalio.worker import (
    ContinueAsNewInput,
    Interceptor,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    StartNexusOperationInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from capsules.actions.headers import AUTHORITY, ActivityHeader, arguments_digest, payload_parts
from capsules.actions.ledger_messages import tenant_of
from capsules.actions.verdict import Acknowledgement
from capsules.constitutions.proposal import STEPS
from capsules.errors import AuthorityRefused
from policy.temporal_errors import to_failure
from workflows.capsule import RunCapsule
from workflows.composite import RunProject
from workflows.constitution_activation import ActivateConstitution
from workflows.options import activity_id

WORKFLOWS = (RunCapsule, RunProject)
"""Workflows that run capsules. A run may start them as child runs."""
PLATFORM_WORKFLOWS = {ActivateConstitution: STEPS}
"""Workflows of the platform itself, each with the only activities that it may call. They have no run."""
CHILDREN = frozenset(one.__name__ for one in WORKFLOWS)


class CarriesAuthority(Protocol):
    """A workflow with the authority under which it acts."""

    @property
    def authority(self) -> str: ...


class AuthorityInterceptor(Interceptor):
    """Worker interceptor for workflows."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002, ARG002
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        steps = _platform_steps()
        if steps is not None and input.activity not in steps:
            _refuse(f"activity {input.activity!r}: it is no step of {workflow.info().workflow_type}")
        input.activity_id = input.activity_id or activity_id()
        if input.activity_id is not None and input.ret_type is type(None):
            input.ret_type = Acknowledgement
        bearer: CarriesAuthority = workflow.instance()
        call = ActivityHeader(
            authority=bearer.authority,
            activity=input.activity_id,
            type=input.activity,
            execution=workflow.info().run_id,
            arguments=arguments_digest(payload_parts(workflow.payload_converter().to_payloads(input.args))),
        )
        input.headers = {**input.headers, AUTHORITY: PayloadConverter.default.to_payload(call.model_dump())}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        _refuse(f"local activity {input.activity!r}: it would bypass the gate")

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        if input.workflow not in CHILDREN or _platform_steps() is not None:
            _refuse(f"child workflow {input.workflow!r}: only {', '.join(sorted(CHILDREN))} may be started")
        if not input.id.startswith(f"{workflow.info().workflow_id}/"):
            _refuse(f"child id {input.id!r}: it must begin with the parent's")
        return await super().start_child_workflow(input)

    async def start_nexus_operation(self, input: StartNexusOperationInput[Any, Any]) -> Any:  # noqa: A002, ANN401
        _refuse(f"Nexus operation {input.operation_name!r}: it would leave the platform")

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002
        if tenant_of(input.workflow_id) != tenant_of(workflow.info().workflow_id):
            _refuse(f"signal to {input.workflow_id!r}: it is another tenant's")
        if _platform_steps() is not None:
            _refuse(f"signal to {input.workflow_id!r}: a platform workflow may not send signals")
        await super().signal_external_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        if input.workflow is not None and (input.workflow not in CHILDREN or _platform_steps() is not None):
            _refuse(f"continue as {input.workflow!r}")
        super().continue_as_new(input)


def _platform_steps() -> frozenset[str] | None:
    """Return the activities that a workflow of the platform may call; None for a run."""
    called = workflow.info().workflow_type
    return next((steps for one, steps in PLATFORM_WORKFLOWS.items() if one.__name__ == called), None)


def _refuse(what: str) -> NoReturn:
    raise to_failure(AuthorityRefused(f"A run may not ask for this: {what}."))
