"""What ships with us is sound: capsules, personas, tools, constitution, examples."""

from functools import cache
from itertools import product
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sources import ROOT

from capsules.actions.action import Action, Facts, action_variables
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import GENESIS
from capsules.errors import NotFound
from capsules.expressions import evaluate, evaluate_condition
from capsules.names import parse_reference
from somagent.capsule_files.check import check
from somagent.capsule_files.document import load
from somagent.capsule_files.file_schema import schema
from somagent.capsule_files.library import Library, example

LIBRARY = Library.load()
FILES = sorted((ROOT / "capsules" / "library" / "capsules").iterdir())


def resolve(reference: str) -> Capsule | None:
    try:
        return LIBRARY.capsule(parse_reference(reference))
    except NotFound:
        return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_capsule_is_sound(file: Path) -> None:
    text = file.read_text("utf-8")
    capsule = load(text, filename=file.name)
    check(capsule, LIBRARY, resolve, text=text, filename=file.name)
    assert capsule.metadata.name == file.stem
    assert capsule.spec.example is not None
    Draft202012Validator(schema()).validate(capsule.model_dump(mode="json", by_alias=True, exclude_none=True))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_the_task_capsules_of_shipped_composites_are_shipped() -> None:
    for capsule in LIBRARY.capsules:
        for task in capsule.spec.tasks:
            assert LIBRARY.capsule(parse_reference(task.capsule)).spec.type != "composite"


def test_an_unknown_tool_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        LIBRARY.tool(parse_reference("perl@1"))
    assert caught.value.fields["known"] == [tool.ref for tool in LIBRARY.tools]
    assert {"python@1.0.0", "shell@1.0.0"} <= set(caught.value.fields["known"])


def test_an_unknown_version_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        LIBRARY.tool(parse_reference("python@2"))
    assert caught.value.fields["known"] == ["python@1.0.0"]


def test_every_tool_declares_schemas_and_containers_stay_inside() -> None:
    for tool in LIBRARY.tools:
        for action in tool.actions.values():
            Draft202012Validator.check_schema(action.inputs)
            if tool.kind == "container":
                assert action.egress == "none"
                assert action.interpreter


@pytest.mark.parametrize("name", ["postgresql.log", "temporal.log", "valkey.log", "meeting.txt"])
def test_the_examples_are_there(name: str) -> None:
    assert example(name).read_text("utf-8").strip()


def test_the_inline_log_is_a_part_of_the_real_one() -> None:
    log = resolve("log-triage").spec.example["log"].rstrip("\n")
    assert log in example("postgresql.log").read_text("utf-8")


@cache
def actions() -> list[dict]:
    """Return the variables of every combination that matters."""
    found = []
    values = product(
        ["tool.invoke", "slm.chat"],
        ["read", "write", "destructive"],
        [True, False],
        ["none", "allowlist", "open"],
        ["public", "internal", "confidential", "secret"],
        [True, False],
        [0.0, 0.25, 0.5, 1.0],
        [0, 1, 3, 20],
        ["manual", "autonomous"],
    )
    for kind, effect, reversible, egress, data, idempotent, headroom, denials, autonomy in values:
        action = Action(
            kind=kind, target="x", effect=effect, reversible=reversible, egress=egress, data=data,
            idempotent=idempotent, cost=Amounts(tokens=5), arguments=GENESIS,
        )  # fmt: skip
        facts = Facts(autonomy=autonomy, headroom=headroom, denials=denials, actor="a", tenant="t")
        found.append({"action": action_variables(action), **facts.variables()})
    return found


@pytest.mark.parametrize("feature", LIBRARY.constitution["score"]["features"], ids=lambda f: f["name"])
def test_a_feature_is_a_double_between_0_and_1_for_every_action(feature: dict) -> None:
    for variables in actions():
        value = evaluate(feature["value"], variables)
        assert isinstance(value, float)
        assert 0.0 <= value <= 1.0


@pytest.mark.parametrize(
    "rule",
    [a["forbid"] for a in LIBRARY.constitution["articles"]]
    + [a["ask_when"] for a in LIBRARY.constitution["approvals"]],
)
def test_a_rule_says_yes_to_some_actions_and_no_to_others(rule: str) -> None:
    answers = (evaluate_condition(rule, variables) for variables in actions())
    first = next(answers)
    assert (not first) in answers  # reads no further than the first other answer


def test_the_weights_sum_to_one() -> None:
    weights = [round(feature["weight"] * 1_000_000) for feature in LIBRARY.constitution["score"]["features"]]
    assert sum(weights) == 1_000_000
