"""Every activity is declared, listed and served once; every call of one says how long it may take and what is retried."""

import ast
import importlib
import inspect
import pkgutil
from collections import Counter
from pathlib import Path

import pytest
from sources import ROOT, at, dotted, parsed
from temporalio import activity, workflow

import activities
from activities.registry import GOVERNED, PLATFORM
from capsules.constitutions.proposal import STEPS
from workflows.authority_interceptor import CHILDREN, PLATFORM_WORKFLOWS, WORKFLOWS

QUEUES = Path("workers/queues.py")
ACTIVITY_OPTIONS = {"task_queue", "start_to_close_timeout", "retry_policy"}
CHILD_OPTIONS = {"id", "task_queue", "parent_close_policy", "cancellation_type"}
ACTIVITY_CALLS = {"execute_activity", "execute_activity_method", "execute_activity_class"}
ACTIVITY_STARTS = {"start_activity", "start_activity_method", "start_activity_class"}
CHILD_CALLS = {"execute_child_workflow", "start_child_workflow"}
LOCAL = {
    f"{verb}_local_activity{kind}" for verb in ("execute", "start") for kind in ("", "_method", "_class")
}  # they would pass by the gate


def defined_activities() -> dict[str, str]:
    """Return every activity that `activities` defines: type name to `Class.method`."""
    found = {}
    for module in pkgutil.iter_modules(activities.__path__, "activities."):
        for name, group in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            for method, function in inspect.getmembers(group, inspect.isfunction):
                definition = activity._Definition.from_callable(function)
                if definition is not None and group.__module__ == module.name:
                    assert definition.name not in found, f"{definition.name} is defined twice"
                    found[definition.name] = f"{name}.{method}"
    return found


def served() -> list[str]:
    """Return the methods that the queues serve, as written in the composition root: `chat`, `raise_budget`, …"""
    tree = ast.parse((ROOT / QUEUES).read_text())
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "Queue":
            given = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "activities")]
            names += [dotted(item) for group in given for item in group.elts]
    return [name.rpartition(".")[2] for name in names]


def calls(*wanted: str) -> list[tuple[str, ast.Call]]:
    return [
        (at(file, node), node)
        for file, tree in parsed("workflows")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in wanted
    ]


def missing_options(call: ast.Call, options: set[str]) -> set[str]:
    return options - {keyword.arg for keyword in call.keywords}


def test_every_activity_is_governed_or_on_the_platforms_list():
    governed = [kind for kind, _ in GOVERNED]
    assert set(governed) & PLATFORM == set()
    assert sorted([*governed, *PLATFORM]) == sorted(defined_activities())
    assert [kind for kind, times in Counter(governed).items() if times > 1] == []


def test_every_governed_activity_declares_the_action_it_is():
    for kind, declare in GOVERNED:
        assert f'kind="{kind}"' in inspect.getsource(declare), f"{declare.__name__} declares another kind than {kind}"


def test_every_activity_is_served_by_exactly_one_queue():
    methods = [method.rpartition(".")[2] for method in defined_activities().values()]
    assert len(set(methods)) == len(methods), "two activities have one method name: this test cannot tell them apart"
    assert sorted(served()) == sorted(methods)


def test_temporal_is_asked_for_activities_in_two_places_only():
    """`GovernedEffects.act` for effects, and `platform_activity` for the platform's own activities."""
    called = calls(*ACTIVITY_CALLS, *ACTIVITY_STARTS)
    assert [where.partition(":")[0] for where, _ in called] == ["workflows/effects.py", "workflows/options.py"]
    for where, call in called:
        assert missing_options(call, {*ACTIVITY_OPTIONS, "heartbeat_timeout"}) == set(), where


def test_an_effect_also_says_how_it_is_cancelled():
    [(_, call), _] = calls(*ACTIVITY_CALLS)
    assert dotted(call.args[0]) == "effect"
    assert missing_options(call, {"cancellation_type"}) == set()


def test_a_platform_activity_is_never_a_governed_one():
    """A workflow of the platform has no authority, and its interceptor refuses all but its listed steps."""
    called = calls("platform_activity")
    assert len(called) >= 10
    named = {
        f"{where} {dotted(node)}"
        for where, call in called
        for node in (
            [call.args[0].body, call.args[0].orelse] if isinstance(call.args[0], ast.IfExp) else [call.args[0]]
        )
    }
    others = {
        one
        for one in named
        if not one.partition(" ")[2].startswith(("RunStateActivities.", "ApprovalActivities."))
        and not (one.startswith("workflows/constitution_activation.py") and " ConstitutionActivities." in one)
    }
    assert others == set()
    methods = {one.partition(" ")[2]: kind for kind, one in ((k, f" {m}") for k, m in defined_activities().items())}
    assert {methods[one.partition(" ")[2]] for one in named} <= PLATFORM


def test_every_child_call_says_its_id_queue_and_cancellation():
    called = calls(*CHILD_CALLS)
    assert called
    assert {
        where: missing_options(call, CHILD_OPTIONS) for where, call in called if missing_options(call, CHILD_OPTIONS)
    } == {}


def test_no_workflow_goes_round_the_gate():
    assert [where for where, _ in calls(*LOCAL, "start_nexus_operation", "create_nexus_client")] == []


def test_only_our_own_workflows_may_be_children():
    assert (
        {workflow._Definition.must_from_class(one).name for one in WORKFLOWS}
        == CHILDREN
        == {"RunCapsule", "RunProject"}
    )


def test_a_workflow_without_authority_may_ask_for_its_listed_platform_steps_only():
    named = {workflow._Definition.must_from_class(one).name for one in PLATFORM_WORKFLOWS}
    assert named == {"ActivateConstitution"}
    assert set().union(*PLATFORM_WORKFLOWS.values()) == STEPS
    assert STEPS <= PLATFORM


@pytest.mark.parametrize("package", ["activities", "workflows"])
def test_pure_packages_ask_neither_clock_nor_chance(package):
    forbidden = (
        "time.",
        "random.",
        "uuid.",
        "secrets.",
        "datetime.now",
        "datetime.datetime.now",
        "os.urandom",
        "asyncio.sleep",
    )
    found = [
        f"{at(file, node)} {dotted(node.func)}"
        for file, tree in parsed(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).startswith(forbidden)
    ]
    assert found == []


def test_only_the_composition_roots_open_connections():
    """Adapters are constructed in one place for each process; this finds a second one."""
    openers = {"open_database", "EventBus", "connect", "DockerSandbox", "PydanticAiModel"}
    allowed = {
        Path("workers/assembly.py"),
        Path("workers/main.py"),
        Path("workers/relay/process.py"),
        Path("workers/sealer/process.py"),
        Path("somagent/governance/plugin.py"),  # of an application's process that is not ours
        Path("api/deps.py"),
    }
    found = [
        f"{at(file, node)} {dotted(node.func)}"
        for file, tree in parsed("api", "workers", "policy", "activities", "workflows")
        if file not in allowed
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) in openers
    ]
    assert found == []
