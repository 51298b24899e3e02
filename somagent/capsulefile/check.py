"""`check`: what a capsule means, beyond its form: every name exists, every expression parses, every part fits."""

from collections.abc import Callable

from capsules.capsule import Capsule, Spec
from capsules.errors import NotFound
from capsules.names import parse_reference
from capsules.tool import Tool
from somagent.capsulefile.cron import cron_problem
from somagent.capsulefile.document import read
from somagent.capsulefile.findings import Findings
from somagent.capsulefile.kinds import check_kind
from somagent.capsulefile.problems import Places, refuse
from somagent.capsulefile.schemas import check_schema, check_value
from somagent.capsulefile.sight import Sight, of_deliverable, of_inputs, of_steps, of_tasks
from somagent.capsulefile.steps import check_steps
from somagent.capsulefile.tasks import check_tasks
from somagent.capsulefile.translate import suggestion
from somagent.library import Library

type Resolve = Callable[[str], Capsule | None]
"""Finds the published capsule that a task's reference names, or None."""


def check(
    capsule: Capsule, library: Library, resolve: Resolve, *, text: str | None = None, filename: str = "capsule.yaml"
) -> None:
    """Raise Invalid with every problem of meaning at once; with the file's `text`, each has line and column."""
    findings = Findings(read(text, filename=filename).places if text is not None else Places())
    spec = capsule.spec
    check_kind(findings, spec)
    judged = check_schema(findings, ("spec", "inputs"), spec.inputs, of_object=True)
    check_schema(findings, ("spec", "deliverable", "schema"), spec.deliverable.shape)
    if spec.example is not None and judged:
        check_value(findings, ("spec", "example"), spec.example, spec.inputs, of="the inputs")
    _check_persona(findings, spec, library)
    check_steps(findings, spec, _tools(findings, spec, library))
    children = _children(findings, spec, resolve)
    check_tasks(findings, spec, children)
    _check_deliverable(findings, spec, children)
    _check_memory(findings, spec)
    _check_triggers(findings, spec)
    refuse(filename if text is not None else capsule.ref, findings.problems)


def _check_persona(findings: Findings, spec: Spec, library: Library) -> None:
    if spec.persona is None:
        return
    try:
        library.persona(parse_reference(spec.persona))
    except NotFound as error:
        findings.add(("spec", "persona"), error.message, expected=_known(error))


def _tools(findings: Findings, spec: Spec, library: Library) -> dict[str, Tool]:
    """Return the declared tools that exist, by name."""
    tools: dict[str, Tool] = {}
    for index, use in enumerate(spec.tools):
        path = ("spec", "tools", index)
        reference = parse_reference(use.use)
        if reference.name in tools:
            findings.add((*path, "use"), f"{reference.name!r} is declared before.", expected="one entry a tool")
        try:
            tool = library.tool(reference)
        except NotFound as error:
            findings.add((*path, "use"), error.message, expected=_known(error))
            continue
        tools[reference.name] = tool
        for position, action in enumerate(use.actions):
            if action not in tool.actions:
                message = f"{tool.name}@{tool.version} has no action {action!r}.{suggestion(action, tool.actions)}"
                findings.add((*path, "actions", position), message, expected=f"one of {', '.join(tool.actions)}")
    return tools


def _children(findings: Findings, spec: Spec, resolve: Resolve) -> dict[str, Capsule]:
    """Return the tasks' capsules that exist, by task id."""
    children: dict[str, Capsule] = {}
    for index, task in enumerate(spec.tasks):
        child = resolve(task.capsule)
        if child is None:
            message = f"There is no published capsule {task.capsule!r}."
            findings.add(("spec", "tasks", index, "capsule"), message, expected="a capsule that is published before")
        else:
            children[task.id] = child
    return children


def _check_deliverable(findings: Findings, spec: Spec, children: dict[str, Capsule]) -> None:
    path = ("spec", "deliverable")
    if spec.deliverable.value is not None:
        sight: Sight
        if spec.type == "composite":
            sight = of_tasks(spec, tuple(task.id for task in spec.tasks), children)
        else:
            sight = of_steps(spec, len(spec.steps))
        findings.template((*path, "value"), spec.deliverable.value, sight)
    for index, expression in enumerate(spec.deliverable.accept):
        findings.expression((*path, "accept", index), expression, of_deliverable(spec))


def _check_memory(findings: Findings, spec: Spec) -> None:
    if spec.memory.recall is not None:
        findings.template(("spec", "memory", "recall", "query"), spec.memory.recall.query, of_inputs(spec))


def _check_triggers(findings: Findings, spec: Spec) -> None:
    for index, trigger in enumerate(spec.triggers):
        path = ("spec", "triggers", index)
        if trigger.schedule is not None:
            problem = cron_problem(trigger.schedule)
            if problem is not None:
                findings.add((*path, "schedule"), f"{problem}.", expected="five cron fields, such as `0 7 * * 1`")
        if trigger.when is not None:
            findings.expression((*path, "when"), trigger.when, Sight({"event": {}}))


def _known(error: NotFound) -> str:
    known = error.fields.get("known", ())
    return f"one of {', '.join(known)}" if known else ""
