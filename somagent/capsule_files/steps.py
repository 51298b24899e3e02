"""Checks of a capsule's type and of its fixed steps: the fields that the type allows, and the uses of each step.

A step either uses a declared tool action with arguments that fit, or asks the persona. Its expressions can use earlier
steps only.
"""

from collections.abc import Mapping

from capsules.capsule import Spec, Step
from capsules.errors import DocumentPath
from capsules.tools.tool import Tool
from somagent.capsule_files.expression_scope import ExpressionScope, steps_scope
from somagent.capsule_files.problems import ProblemCollector, suggestion
from somagent.capsule_files.references import check_expression, check_template
from somagent.capsule_files.schemas import check_mapping, check_schema


def check_kind(problems: ProblemCollector, spec: Spec) -> None:
    """Check that the fields fit the type, and that budget and guardrails fit the fields."""
    match spec.type:
        case "atomic":
            _check_atomic(problems, spec)
        case "utility":
            _check_utility(problems, spec)
        case "composite":
            _check_composite(problems, spec)
    _check_limits(problems, spec)


def needs_model(spec: Spec) -> bool:
    """Return whether a capsule needs a model: it is atomic, and a step has `think` or there are no fixed steps."""
    return spec.type == "atomic" and (not spec.steps or any(step.think is not None for step in spec.steps))


def _check_atomic(problems: ProblemCollector, spec: Spec) -> None:
    _forbid(problems, spec, ("tasks",), "An atomic capsule runs no others", "type: composite")
    if needs_model(spec):
        for name in ("persona", "model"):
            if getattr(spec, name) is None:
                message = f"An atomic capsule needs `{name}`, unless every step is a tool action."
                problems.add(("spec", name), message, expected="`persona: analyst@^1` and `model: {role: dialogue}`")
    if not spec.steps and spec.deliverable.value is not None:
        message = "`value` maps from steps, and this capsule has none."
        problems.add(("spec", "deliverable", "value"), message, expected="`steps`, or no `value`", key=True)


def _check_utility(problems: ProblemCollector, spec: Spec) -> None:
    _forbid(
        problems, spec, ("tasks", "persona", "model"), "A utility is one tool action without a model", "type: atomic"
    )
    if len(spec.steps) != 1 or spec.steps[0].use is None:
        message = f"A utility has exactly one step, and it uses a tool; this one has {len(spec.steps)} steps."
        problems.add(("spec", "steps"), message, expected="one step with `use`")
    if spec.memory.recall is not None:
        problems.add(
            ("spec", "memory", "recall"),
            "A utility calls no model, so recalled memories would go unread.",
            expected="no `recall`",
        )


def _check_composite(problems: ProblemCollector, spec: Spec) -> None:
    what = "A composite capsule leaves the work to its tasks"
    _forbid(problems, spec, ("steps", "persona", "model"), what, "the field in a capsule that is a task")
    if not spec.tasks:
        problems.add(
            ("spec", "tasks"), "A composite capsule has tasks; this one has none.", expected="at least one task"
        )
    for index, rule in enumerate(spec.budget.on_pressure):
        if rule.do in {"cheaper_model", "shorter_outputs"}:
            message = f"A composite capsule asks no model itself, so `{rule.do}` would do nothing."
            where = ("spec", "budget", "on_pressure", index, "do")
            problems.add(where, message, expected="`ask`, `pause` or `stop`; or this rule in a capsule that is a task")


def _forbid(problems: ProblemCollector, spec: Spec, names: tuple[str, ...], why: str, instead: str) -> None:
    for name in names:
        if getattr(spec, name):
            problems.add(("spec", name), f"{why}, so it has no `{name}`.", expected=instead, key=True)


def _check_limits(problems: ProblemCollector, spec: Spec) -> None:
    budget = ("spec", "budget")
    if spec.tools and spec.budget.tool_calls == 0:
        problems.add(
            (*budget, "tool_calls"), "Tools are declared, and the budget allows no call.", expected="at least 1"
        )
    if needs_model(spec) and spec.budget.tokens == 0:
        problems.add((*budget, "tokens"), "A persona thinks, and the budget allows no token.", expected="at least 1")
    work = len(spec.steps) or len(spec.tasks)
    if spec.guardrails.max_steps < work:
        message = f"There are {work} steps, and the run ends after {spec.guardrails.max_steps}."
        problems.add(("spec", "guardrails", "max_steps"), message, expected=f"at least {work}")


def check_steps(problems: ProblemCollector, spec: Spec, tools: Mapping[str, Tool]) -> None:
    """Check every step; `tools` are the declared ones that exist, by name."""
    seen: set[str] = set()
    for index, step in enumerate(spec.steps):
        path: DocumentPath = ("spec", "steps", index)
        if step.id in seen:
            problems.add((*path, "id"), f"There is a step {step.id!r} before this one.", expected="an id of its own")
        seen.add(step.id)
        scope = steps_scope(spec, index)
        if step.when is not None:
            check_expression(problems, (*path, "when"), step.when, scope)
        if step.use is not None:
            _check_use(problems, path, step, spec, tools, scope)
        else:
            _check_think(problems, path, step, scope)


def _check_think(problems: ProblemCollector, path: DocumentPath, step: Step, scope: ExpressionScope) -> None:
    check_template(problems, (*path, "think"), step.think, scope)
    if step.with_:
        message = "Only a step that uses a tool has arguments."
        problems.add((*path, "with"), message, expected="`${{ }}` in `think`", key=True)
    if step.shape is not None:
        check_schema(problems, (*path, "schema"), step.shape)


def _check_use(  # noqa: PLR0913, PLR0917 - what a step may name
    problems: ProblemCollector,
    path: DocumentPath,
    step: Step,
    spec: Spec,
    tools: Mapping[str, Tool],
    scope: ExpressionScope,
) -> None:
    if step.shape is not None:
        message = "Only a thought follows a schema."
        problems.add((*path, "schema"), message, expected="no `schema` beside `use`", key=True)
    declared = [f"{use.use.partition('@')[0]}/{action}" for use in spec.tools for action in use.actions]
    wanted = str(step.use)
    if wanted not in declared:
        message = f"{wanted!r} is not among the capsule's tools.{suggestion(wanted, declared)}"
        problems.add(
            (*path, "use"), message, expected=f"one of {', '.join(declared)}" if declared else "a tool in `tools`"
        )
        return
    name, _, action = wanted.partition("/")
    tool = tools.get(name)
    if tool is None or action not in tool.actions:
        return  # reported where the tool is declared
    schema = tool.actions[action].inputs
    # A capsule with a persona may leave arguments to it.
    check_mapping(problems, (*path, "with"), step.with_, schema, scope, of=wanted, complete=not needs_model(spec))
