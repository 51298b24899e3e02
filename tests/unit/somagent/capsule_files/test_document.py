"""The form of a capsule file: every problem at once, each at its line, in plain words."""

import json

import pytest

from capsules.errors import Invalid, TooLarge
from somagent.capsule_files.document import load
from somagent.capsule_files.problems import MAX_BYTES, MAX_DEPTH

GOOD = """apiVersion: somagent/v1
kind: Capsule
metadata: {name: hello, version: 1.0.0, summary: Say hello.}
spec:
  type: utility
  intent: Say hello.
  tools: [{use: python@1, actions: [run]}]
  guardrails: {max_steps: 1}
  budget: {tool_calls: 1}
  steps:
    - id: say
      use: python/run
      with: {code: "print(1)"}
"""


def problems(text: str, filename: str = "capsule.yaml") -> list[dict]:
    with pytest.raises(Invalid) as caught:
        load(text, filename=filename)
    return caught.value.fields["problems"]


def only_problem(text: str, filename: str = "capsule.yaml") -> dict:
    found = problems(text, filename)
    assert len(found) == 1, found
    return found[0]


def test_a_good_file_loads() -> None:
    assert load(GOOD).ref == "hello@1.0.0"


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "says", "expected"),
    [
        ("somagent/v1", "somagent/v2", 1, "apiVersion", "'somagent/v2'", "'somagent/v1'"),
        ("name: hello", "name: Hello_World", 3, "metadata.name", "'Hello_World'", "`log-triage`"),
        ("version: 1.0.0", "version: 1.0", 3, "metadata.version", "1.0 ", "quotes"),
        ("version: 1.0.0", "version: one", 3, "metadata.version", "'one'", "`1.4.0`"),
        (", summary: Say hello.", "", 3, "metadata.summary", "missing", "One sentence"),
        ("summary:", "sumary:", 3, "metadata.sumary", "Did you mean `summary`?", "owner"),
        ("type: utility", "type: utilty", 5, "spec.type", "'utilty'", "'composite'"),
        ("intent: Say hello.", "intent: ''", 6, "spec.intent", "''", "at least 1 character"),
        ("use: python@1,", "use: Python 3,", 7, "spec.tools[0].use", "not a reference", "`name@^1.2`"),
        ("actions: [run]", "actions: []", 7, "spec.tools[0].actions", "list", "at least 1 item"),
        ("actions: [run]", "actions: run", 7, "spec.tools[0].actions", "'run'", "a list"),
        ("max_steps: 1", "max_steps: 0", 8, "spec.guardrails.max_steps", "0 ", "at least 1"),
        ("max_steps: 1", "max_steps: true", 8, "spec.guardrails.max_steps", "true", "a whole number"),
        ("max_steps: 1", "max_steps: 2000", 8, "spec.guardrails.max_steps", "2000", "at most 1,000"),
        ("tool_calls: 1", "tool_calls: '1'", 9, "spec.budget.tool_calls", "'1'", "a whole number"),
        ("tool_calls: 1", "wall_clock: soon", 9, "spec.budget.wall_clock", "'soon'", "`10m`"),
        ("id: say", "id: say-it", 11, "spec.steps[0].id", "'say-it'", "`parse_log`"),
        ("use: python/run", "use: python", 12, "spec.steps[0].use", "'python'", "`python/run`"),
        ("use: python/run", "used: python/run", 12, "spec.steps[0].used", "Did you mean `use`?", "think"),
        ("with: {code", "with_: {code", 13, "spec.steps[0].with_", "Did you mean `with`?", "with"),
    ],
)
def test_a_wrong_field_is_told_with_its_line_path_and_what_was_expected(
    *, old: str, new: str, line: int, path: str, says: str, expected: str
) -> None:
    assert old in GOOD
    found = next(p for p in problems(GOOD.replace(old, new)) if p["path"] == path)
    assert found["line"] == line
    assert says in found["message"]
    assert expected in found["expected"]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("name: hello", "name: Hello").replace("type: utility", "type: x").replace("id: say", "id: S")
    found = problems(text)
    assert [p["path"] for p in found] == ["metadata.name", "spec.type", "spec.steps[0].id"]
    assert [p["line"] for p in found] == [3, 5, 11]


def test_the_headline_counts_the_problems_and_tells_the_first() -> None:
    with pytest.raises(Invalid, match=r"^mine\.yaml has 2 problems; the first at line 1: apiVersion: "):
        load(GOOD.replace("somagent/v1", "v1").replace("type: utility", "type: x"), filename="mine.yaml")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1,\nb: }", 2, "This is not YAML"),
        ("a: 1\n\tb: 2", 2, "This is not YAML"),
        ("a: 1\na: 2", 2, "a second time"),
        ("a: &x 1\nb: *x", 1, "Anchors and aliases"),
        ("a: !!python/name:os.system x", 1, "Tags (here"),
        ("a: 1\n---\nb: 1", 2, "second document"),
        ("a: 99999999999999999999", 1, "beyond what JSON carries"),
        ("? [a]\n: b", 1, "key is not text"),
        ("", 1, "holds nothing"),
        ("- 1", 1, "holds a list"),
        ("a: " + "[" * (MAX_DEPTH + 1), 1, "nests deeper"),
        ("a: [" + "1," * 21_000 + "1]", 1, "more than 20,000 values"),
    ],
)
def test_broken_or_dangerous_yaml_is_refused_at_its_line(text: str, line: int, says: str) -> None:
    found = only_problem(text)
    assert found["line"] == line
    assert says in found["message"]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"a": 1,\n x}', 2, "This is not JSON"),
        ('{"a": 1,\n "a": 2}', 2, "a second time"),
        ('{"a":\n 99999999999999999999}', 2, "beyond what JSON carries"),
        ('{"a": NaN}', None, "NaN"),
        ('{"a":\n "\\u0000"}', 2, "NUL"),
        ('{"a": "\\ud800"}', 1, "surrogate"),
        ('{"a": ' + "[" * MAX_DEPTH, 1, "nests deeper"),
    ],
)
def test_broken_or_dangerous_json_is_refused_at_its_line(text: str, line: int | None, says: str) -> None:
    found = only_problem(text, "capsule.json")
    assert found["line"] == line
    assert says in found["message"]


def test_a_bomb_of_aliases_ends_before_anything_is_built() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    assert "Anchors and aliases" in only_problem(bomb)["message"]


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="a file may have 262,144"):
        load("#" * (MAX_BYTES + 1))


@pytest.mark.parametrize("word", ["on", "no", "12:30", "2026-01-01", "0x10", "1_000"])
def test_words_that_old_yaml_turned_into_other_things_stay_text(word: str) -> None:
    capsule = load(GOOD.replace("Say hello.\n  tools", f"{word}\n  tools"))
    assert capsule.spec.intent == word


def test_json_problems_have_lines_too() -> None:
    capsule = load(GOOD).model_dump(mode="json", by_alias=True)
    capsule["spec"]["guardrails"]["max_steps"] = 0
    text = json.dumps(capsule, indent=2)
    found = only_problem(text, "capsule.json")
    assert found["path"] == "spec.guardrails.max_steps"
    assert '"max_steps": 0' in text.splitlines()[found["line"] - 1]
