"""Check of a capsule: the names that it uses exist, its expressions parse, and its parts fit each other."""

from collections.abc import Callable
from typing import Protocol

from capsules.capsule import Capsule, Persona, Spec
from capsules.errors import NotFound
from capsules.names import Reference, parse_reference
from capsules.tools.tool import Tool
from somagent.capsule_files.cron import cron_problem
from somagent.capsule_files.document import read
from somagent.capsule_files.expression_scope import (
    ExpressionScope,
    deliverable_scope,
    inputs_scope,
    steps_scope,
    tasks_scope,
)
from somagent.capsule_files.problems import Places, ProblemCollector, refuse, suggestion
from somagent.capsule_files.references import check_expression, check_template
from somagent.capsule_files.schemas import check_schema, check_value
from somagent.capsule_files.steps import check_kind, check_steps
from somagent.capsule_files.tasks import check_tasks

type Resolve = Callable[[str], Capsule | None]
"""Returns the published capsule of a task's reference, or None."""


class Catalog(Protocol):
    """The personas and tools that exist. Both methods raise NotFound with the `known` ones."""

    def persona(self, reference: Reference) -> Persona: ...

    def tool(self, reference: Reference) -> Tool: ...


def check(
    capsule: Capsule, catalog: Catalog, resolve: Resolve, *, text: str | None = None, filename: str = "capsule.yaml"
) -> None:
    """Check a capsule. Raises Invalid with all problems. Line and column need the `text` of the file."""
    problems = ProblemCollector(read(text, filename=filename).places if text is not None else Places())
    spec = capsule.spec
    check_kind(problems, spec)
    valid = check_schema(problems, ("spec", "inputs"), spec.inputs, of_object=True)
    check_schema(problems, ("spec", "deliverable", "schema"), spec.deliverable.shape)
    if spec.example is not None and valid:
        check_value(problems, ("spec", "example"), spec.example, spec.inputs, of="the inputs")
    _check_persona(problems, spec, catalog)
    check_steps(problems, spec, _tools(problems, spec, catalog))
    children = _children(problems, spec, resolve)
    check_tasks(problems, spec, children)
    _check_deliverable(problems, spec, children)
    _check_memory(problems, spec)
    _check_triggers(problems, spec)
    refuse(filename if text is not None else capsule.ref, problems.found)


def _check_persona(problems: ProblemCollector, spec: Spec, catalog: Catalog) -> None:
    if spec.persona is None:
        return
    try:
        catalog.persona(parse_reference(spec.persona))
    except NotFound as error:
        problems.add(("spec", "persona"), error.message, expected=_known(error))


def _tools(problems: ProblemCollector, spec: Spec, catalog: Catalog) -> dict[str, Tool]:
    """Return the declared tools that exist, by name."""
    tools: dict[str, Tool] = {}
    for index, use in enumerate(spec.tools):
        path = ("spec", "tools", index)
        reference = parse_reference(use.use)
        if reference.name in tools:
            problems.add((*path, "use"), f"{reference.name!r} is declared before.", expected="one entry for each tool")
        try:
            tool = catalog.tool(reference)
        except NotFound as error:
            problems.add((*path, "use"), error.message, expected=_known(error))
            continue
        tools[reference.name] = tool
        for position, action in enumerate(use.actions):
            if action not in tool.actions:
                message = f"{tool.name}@{tool.version} has no action {action!r}.{suggestion(action, tool.actions)}"
                problems.add((*path, "actions", position), message, expected=f"one of {', '.join(tool.actions)}")
    return tools


def _children(problems: ProblemCollector, spec: Spec, resolve: Resolve) -> dict[str, Capsule]:
    """Return the tasks' capsules that exist, by task id."""
    children: dict[str, Capsule] = {}
    for index, task in enumerate(spec.tasks):
        child = resolve(task.capsule)
        if child is None:
            message = f"There is no published capsule {task.capsule!r}."
            problems.add(("spec", "tasks", index, "capsule"), message, expected="a capsule that is published before")
        else:
            children[task.id] = child
    return children


def _check_deliverable(problems: ProblemCollector, spec: Spec, children: dict[str, Capsule]) -> None:
    path = ("spec", "deliverable")
    if spec.deliverable.value is not None:
        if spec.type == "composite":
            scope = tasks_scope(spec, tuple(task.id for task in spec.tasks), children)
        else:
            scope = steps_scope(spec, len(spec.steps))
        check_template(problems, (*path, "value"), spec.deliverable.value, scope)
    for index, expression in enumerate(spec.deliverable.accept):
        check_expression(problems, (*path, "accept", index), expression, deliverable_scope(spec))


def _check_memory(problems: ProblemCollector, spec: Spec) -> None:
    if spec.memory.recall is not None:
        check_template(problems, ("spec", "memory", "recall", "query"), spec.memory.recall.query, inputs_scope(spec))


def _check_triggers(problems: ProblemCollector, spec: Spec) -> None:
    for index, trigger in enumerate(spec.triggers):
        path = ("spec", "triggers", index)
        if trigger.schedule is not None:
            problem = cron_problem(trigger.schedule)
            if problem is not None:
                problems.add((*path, "schedule"), f"{problem}.", expected="five cron fields, such as `0 7 * * 1`")
        if trigger.when is not None:
            check_expression(problems, (*path, "when"), trigger.when, ExpressionScope({"event": {}}))


def _known(error: NotFound) -> str:
    known = error.fields.get("known", ())
    return f"one of {', '.join(known)}" if known else ""
