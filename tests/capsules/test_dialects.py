"""Older files come over as far as they go, and every loss is said."""

import pytest

from capsules.errors import Invalid
from somagent.capsulefile.dialects import import_dialect

FIRST = """
capsule_id: plane_project_starter
version: 1.2.0
persona_shot: pm_plane_guru_v1
tools: [{adapter: plane, actions: [create_project, add_member, seed_issue]}, {adapter: notion, actions: [create_page]}]
knowledge: [{node_id: somabrain://guidelines/project-management}]
policies: {budget_tokens: 5000, requires_review: true}
hooks: {pre: [warm_up]}
execution:
  steps:
    - {name: create, action: plane.create_project, params: {name_template: "{{project_name}}"}, retries: 3}
"""

SECOND = """
id: dr_failover_drill
version: 1.0.0
summary: Walk through a failover.
type: composite
inputs: [{name: region, type: string, required: true}, {name: wait, type: int}, {name: when, type: moment}]
outputs: {report: {description: What happened, schema: [step, seconds]}}
workflow:
  steps:
    - {name: Stop primary, action: infra.stop, params: {region: "{{ region }}"}, save_as: stopped}
    - {name: wait, action: infra.wait, params: {seconds: "{{ wait | default(120) }}", after: "{{ stopped.time }}"}}
    - {name: odd, action: infra.wait, params: {seconds: "{{ wait | upper }}"}}
    - {name: nothing}
"""

PLANNER = """
id: project-planner
version: 1.0.0
summary: Plan a project.
type: planner
planner: {prompt: Plan it., heuristics: {max_deliverables: 5, default_budget_tokens: 9000, prioritize_parallelism: true}}
"""


def test_the_first_dialect_keeps_steps_tools_budget_and_persona() -> None:
    result = import_dialect(FIRST)
    capsule = result.capsule
    assert capsule is not None
    assert capsule.ref == "plane-project-starter@1.2.0"
    assert capsule.spec.persona == "pm-plane-guru@^1"
    assert capsule.spec.budget.tokens == 5000
    assert [use.use for use in capsule.spec.tools] == ["plane", "notion"]
    assert capsule.spec.steps[0].use == "plane/create_project"
    assert capsule.spec.steps[0].with_ == {"name_template": "${{ inputs.project_name }}"}
    assert capsule.spec.guardrails.autonomy == "manual"


@pytest.mark.parametrize(
    "lost", ["summary", "pm-plane-guru", "'plane'", "requires_review", "somabrain://", "`hooks`", "retries"]
)
def test_what_the_first_dialect_loses_is_said(lost: str) -> None:
    assert any(lost in problem for problem in import_dialect(FIRST).problems)


def test_the_second_dialect_keeps_inputs_templates_and_saved_results() -> None:
    capsule = import_dialect(SECOND).capsule
    assert capsule is not None
    assert capsule.spec.type == "atomic"
    assert capsule.spec.inputs["required"] == ["region"]
    assert capsule.spec.inputs["properties"]["wait"] == {"type": "integer"}
    first, second, _ = capsule.spec.steps
    assert first.id == "stop_primary"
    assert second.with_ == {
        "seconds": "${{ has(inputs.wait) ? inputs.wait : 120 }}",
        "after": "${{ steps.stop_primary.output.time }}",
    }


@pytest.mark.parametrize("lost", ["wait | upper", "'moment'", "Step 4", "deliverable.value", "'infra'"])
def test_what_the_second_dialect_loses_is_said(lost: str) -> None:
    assert any(lost in problem for problem in import_dialect(SECOND).problems)


def test_a_planner_becomes_a_persona_that_chooses_its_steps() -> None:
    result = import_dialect(PLANNER)
    assert result.capsule is not None
    assert result.capsule.spec.intent == "Plan it."
    assert result.capsule.spec.budget.tokens == 9000
    assert not result.capsule.spec.steps
    assert any("persona" in problem for problem in result.problems)
    assert any("max_deliverables" in problem for problem in result.problems)


def test_a_file_of_neither_dialect_is_refused() -> None:
    with pytest.raises(Invalid, match="neither older dialect"):
        import_dialect("apiVersion: somagent/v1\nkind: Capsule")


def test_a_name_that_cannot_be_one_leaves_no_capsule_and_a_problem() -> None:
    result = import_dialect("id: '42'\nsummary: x\nworkflow: {steps: []}")
    assert result.capsule is None
    assert any("metadata.name" in problem for problem in result.problems)
