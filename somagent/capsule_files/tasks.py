"""Checks of a composite's tasks: no cycles, inputs that fit, and a budget and tools that cover the children."""

from collections.abc import Mapping

from capsules.capsule import Capsule, Spec, Task
from capsules.errors import DocumentPath
from somagent.capsule_files.expression_scope import tasks_scope
from somagent.capsule_files.problems import ProblemCollector, suggestion
from somagent.capsule_files.references import check_expression, check_template
from somagent.capsule_files.schemas import check_mapping


def check_tasks(problems: ProblemCollector, spec: Spec, children: Mapping[str, Capsule]) -> None:
    """Check every task; `children` are the capsules that exist, by task id."""
    needs = {task.id: task.needs for task in spec.tasks}
    seen: set[str] = set()
    for index, task in enumerate(spec.tasks):
        path: DocumentPath = ("spec", "tasks", index)
        if task.id in seen:
            problems.add((*path, "id"), f"There is a task {task.id!r} before this one.", expected="an id of its own")
        seen.add(task.id)
        _check_needs(problems, path, task, needs)
        ended = _all_before(task.id, needs)
        scope = tasks_scope(spec, tuple(name for name in needs if name in ended), children)
        if task.when is not None:
            check_expression(problems, (*path, "when"), task.when, scope)
        child = children.get(task.id)
        if child is None:
            check_template(problems, (*path, "with"), task.with_, scope)
        else:
            inputs = child.spec.inputs
            check_mapping(problems, (*path, "with"), task.with_, inputs, scope, of=child.ref, complete=True)
            _check_budget(problems, path, task, child, spec)
            _check_tools(problems, path, child, spec)
    _check_cycles(problems, needs)


def _check_needs(
    problems: ProblemCollector, path: DocumentPath, task: Task, needs: Mapping[str, tuple[str, ...]]
) -> None:
    for position, need in enumerate(task.needs):
        where = (*path, "needs", position)
        others = [name for name in needs if name != task.id]
        if need == task.id:
            problems.add(where, f"Task {need!r} waits for itself.", expected=f"one of {', '.join(others) or 'no task'}")
        elif need not in needs:
            message = f"There is no task {need!r}.{suggestion(need, others)}"
            problems.add(where, message, expected=f"one of {', '.join(others)}" if others else "no `needs`")


def _check_cycles(problems: ProblemCollector, needs: Mapping[str, tuple[str, ...]]) -> None:
    reported: set[str] = set()
    for index, name in enumerate(needs):
        cycle = _cycle(name, needs)
        if cycle and not reported & set(cycle):
            reported |= set(cycle)
            text = " → ".join([*cycle, cycle[0]])
            message = f"These tasks wait for each other, so none starts: {text}."
            problems.add(("spec", "tasks", index, "needs"), message, expected="an order in which tasks can run")


def _cycle(start: str, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the tasks of a cycle through `start`, at least two; empty when there is none."""
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
    """Return the ids of the tasks that have ended when this one starts."""
    before: set[str] = set()
    waiting = list(needs.get(task, ()))
    while waiting:
        name = waiting.pop()
        if name not in before and name in needs:
            before.add(name)
            waiting.extend(needs[name])
    return before - {task}


def _check_budget(problems: ProblemCollector, path: DocumentPath, task: Task, child: Capsule, spec: Spec) -> None:
    own = (task.budget or child.spec.budget).amounts()
    whole = spec.budget.amounts()
    where: DocumentPath = (*path, "budget") if task.budget else ("spec", "budget")
    for name in ("tokens", "micro_usd", "tool_calls"):
        wants, has = getattr(own, name), getattr(whole, name)
        if wants > has:
            message = f"Task {task.id!r} carves {wants:,} {name} from a budget of {has:,}."
            problems.add(where, message, expected=f"at least {wants:,} in `spec.budget`, or less for the task")


def _check_tools(problems: ProblemCollector, path: DocumentPath, child: Capsule, spec: Spec) -> None:
    """Check that the capsule declares every tool of a child, whose authority is never wider than its own."""
    own = {(use.use.partition("@")[0], action) for use in spec.tools for action in use.actions}
    for use in child.spec.tools:
        name = use.use.partition("@")[0]
        for action in use.actions:
            if (name, action) not in own:
                message = f"{child.ref} uses {name}/{action}, which this capsule does not declare."
                expected = f"`tools: [{{use: {use.use}, actions: [{action}]}}]` in this capsule too"
                problems.add((*path, "capsule"), message, expected=expected)
