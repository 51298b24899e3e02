"""Tasks of a composite: known children, a graph without cycles, inputs that fit, budgets and tools to give."""

from collections.abc import Mapping

from capsules.capsule import Capsule, Spec, Task
from somagent.capsulefile.findings import Findings
from somagent.capsulefile.mappings import check_mapping
from somagent.capsulefile.problems import Path
from somagent.capsulefile.sight import of_tasks
from somagent.capsulefile.translate import suggestion


def check_tasks(findings: Findings, spec: Spec, children: Mapping[str, Capsule]) -> None:
    """Check every task; `children` are the capsules that exist, by task id."""
    needs = {task.id: task.needs for task in spec.tasks}
    seen: set[str] = set()
    for index, task in enumerate(spec.tasks):
        path: Path = ("spec", "tasks", index)
        if task.id in seen:
            findings.add((*path, "id"), f"There is a task {task.id!r} before this one.", expected="an id of its own")
        seen.add(task.id)
        _check_needs(findings, path, task, needs)
        ended = _all_before(task.id, needs)
        sight = of_tasks(spec, tuple(name for name in needs if name in ended), children)
        if task.when is not None:
            findings.expression((*path, "when"), task.when, sight)
        child = children.get(task.id)
        if child is None:
            findings.template((*path, "with"), task.with_, sight)
        else:
            of = f"{child.ref}"
            check_mapping(findings, (*path, "with"), task.with_, child.spec.inputs, sight, of=of, complete=True)
            _check_budget(findings, path, task, child, spec)
            _check_tools(findings, path, child, spec)
    _check_cycles(findings, needs)


def _check_needs(findings: Findings, path: Path, task: Task, needs: Mapping[str, tuple[str, ...]]) -> None:
    for position, need in enumerate(task.needs):
        where = (*path, "needs", position)
        others = [name for name in needs if name != task.id]
        if need == task.id:
            findings.add(where, f"Task {need!r} waits for itself.", expected=f"one of {', '.join(others) or 'no task'}")
        elif need not in needs:
            message = f"There is no task {need!r}.{suggestion(need, others)}"
            findings.add(where, message, expected=f"one of {', '.join(others)}" if others else "no `needs`")


def _check_cycles(findings: Findings, needs: Mapping[str, tuple[str, ...]]) -> None:
    told: set[str] = set()
    for index, name in enumerate(needs):
        circle = _circle(name, needs)
        if circle and not told & set(circle):
            told |= set(circle)
            text = " → ".join([*circle, circle[0]])
            message = f"These tasks wait for each other, so none starts: {text}."
            findings.add(("spec", "tasks", index, "needs"), message, expected="an order in which tasks can run")


def _circle(start: str, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return a way of more than one task from `start` back to it."""
    ways: list[tuple[str, ...]] = [(start,)]
    reached: set[str] = set()
    while ways:
        way = ways.pop()
        for need in needs.get(way[-1], ()):
            if need == start and len(way) > 1:
                return way
            if need not in reached and need in needs and need != start:
                reached.add(need)
                ways.append((*way, need))
    return ()


def _all_before(task: str, needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return every task that has ended when this one starts."""
    before: set[str] = set()
    waiting = list(needs.get(task, ()))
    while waiting:
        name = waiting.pop()
        if name not in before and name in needs:
            before.add(name)
            waiting.extend(needs[name])
    return before - {task}


def _check_budget(findings: Findings, path: Path, task: Task, child: Capsule, spec: Spec) -> None:
    own = (task.budget or child.spec.budget).amounts()
    whole = spec.budget.amounts()
    where: Path = (*path, "budget") if task.budget else ("spec", "budget")
    for name in ("tokens", "micro_usd", "tool_calls"):
        wants, has = getattr(own, name), getattr(whole, name)
        if wants > has:
            message = f"Task {task.id!r} carves {wants:,} {name} from a budget of {has:,}."
            findings.add(where, message, expected=f"at least {wants:,} in `spec.budget`, or less for the task")


def _check_tools(findings: Findings, path: Path, child: Capsule, spec: Spec) -> None:
    """Check that no child needs a tool that this capsule lacks: authority only narrows."""
    own = {(use.use.partition("@")[0], action) for use in spec.tools for action in use.actions}
    for use in child.spec.tools:
        name = use.use.partition("@")[0]
        for action in use.actions:
            if (name, action) not in own:
                message = f"{child.ref} uses {name}/{action}, which this capsule does not declare."
                expected = f"`tools: [{{use: {use.use}, actions: [{action}]}}]` in this capsule too"
                findings.add((*path, "capsule"), message, expected=expected)
