"""Search attributes of a run (no personal data) and its details page in the Temporal UI."""

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from capsules.capsule import Capsule
from capsules.digest import Digest
from capsules.runs.run import RunStart, RunState

TENANT = SearchAttributeKey.for_keyword("TenantId")
CAPSULE_NAME = SearchAttributeKey.for_keyword("CapsuleName")
CAPSULE_VERSION = SearchAttributeKey.for_keyword("CapsuleVersion")
PERSONA = SearchAttributeKey.for_keyword("PersonaName")
RUN_STATE = SearchAttributeKey.for_keyword("RunState")
AWAITING_APPROVAL = SearchAttributeKey.for_bool("AwaitingApproval")
BUDGET_STATE = SearchAttributeKey.for_keyword("BudgetState")
CONSTITUTION = SearchAttributeKey.for_keyword("ConstitutionDigest")
PARENT = SearchAttributeKey.for_keyword("ParentRun")

SHOWN_STEPS = 10


def upsert_admission(start: RunStart, capsule: Capsule, constitution: Digest) -> None:
    """Set the attributes that are known at admission. Called once: every upsert is an event of the history."""
    updates: list[SearchAttributeUpdate[Any]] = [
        TENANT.value_set(start.tenant),
        CAPSULE_NAME.value_set(capsule.metadata.name),
        CAPSULE_VERSION.value_set(capsule.metadata.version),
        RUN_STATE.value_set("running"),
        AWAITING_APPROVAL.value_set(False),
        BUDGET_STATE.value_set("within"),
        CONSTITUTION.value_set(constitution),
    ]
    if capsule.spec.persona:
        updates.append(PERSONA.value_set(capsule.spec.persona))
    if start.parent:
        updates.append(PARENT.value_set(start.parent))
    workflow.upsert_search_attributes(updates)


def upsert_status(state: RunState) -> None:
    """Set the attributes that change with the status."""
    workflow.upsert_search_attributes(
        [
            RUN_STATE.value_set(state.status),
            AWAITING_APPROVAL.value_set(state.status == "awaiting_approval"),
            BUDGET_STATE.value_set(budget_state(state)),
        ]
    )


def budget_state(state: RunState) -> str:
    """Return `within`, `50%`, `80%` or `100%` (the threshold reached), or `exhausted` while it waits for a raise."""
    if state.status == "awaiting_budget":
        return "exhausted"
    return f"{state.pressure}%" if state.pressure else "within"


def describe(state: RunState) -> None:
    """Write the details page: capsule, step, budget, waiting approvals, recent steps with their scores."""
    lines = [f"**{state.status}** {state.reason}".strip(), ""]
    if state.admission:
        capsule, left = state.admission.lock.capsule, state.left or state.admission.limit
        lines += [
            f"Capsule `{capsule.ref}`: {capsule.spec.intent[:300]}",
            f"Step {state.step} of at most {capsule.spec.guardrails.max_steps}.",
            f"Spent {state.spent.tokens} tokens and {state.spent.tool_calls} tool calls.",
            f"Left {left.tokens} tokens and {left.tool_calls} tool calls. Budget: {budget_state(state)}.",
            "",
        ]
    for approval in state.approvals.values():
        lines.append(
            f"- waits for approval `{approval.id}` of {approval.kind} on {approval.target}: {approval.sentence}"
        )
    for step in state.recent[-SHOWN_STEPS:]:
        score = f", score {step.score / 1_000_000:.2f}" if step.score is not None else ""
        lines.append(f"- `{step.id}` {step.did}{score}")
    workflow.set_current_details("\n".join(lines))
