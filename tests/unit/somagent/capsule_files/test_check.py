"""The meaning of a capsule: every name, expression, reference and limit, each problem with its path and line."""

import pytest

from capsules.capsule import Capsule
from capsules.errors import Invalid, NotFound
from capsules.names import parse_reference
from somagent.capsule_files.check import check
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library

LIBRARY = Library.load()

ATOMIC = """apiVersion: somagent/v1
kind: Capsule
metadata: {name: sums, version: 1.0.0, summary: Add.}
spec:
  type: atomic
  intent: Add.
  inputs: {type: object, required: [a], additionalProperties: false, properties: {a: {type: integer}, t: {type: string}}}
  deliverable:
    schema: {type: object, properties: {text: {type: string}}, additionalProperties: false}
    value: {text: "${{ steps.say.output.text }}"}
    accept: ["size(output.text) > 0"]
  persona: analyst@^1
  model: {role: dialogue}
  tools: [{use: python@1, actions: [run]}]
  memory: {recall: {query: "${{ inputs.t }}"}}
  guardrails: {max_steps: 3}
  budget: {tokens: 1000, tool_calls: 2}
  steps:
    - {id: add, use: python/run, with: {code: "print(1)", input: "${{ inputs.a }}"}}
    - {id: say, think: "Say ${{ steps.add.output }}.", schema: {type: object, properties: {text: {type: string}}}}
  triggers: [{schedule: "0 7 * * 1"}, {event: x, when: "event.n > 1"}]
  example: {a: 1}
"""

COMPOSITE = """apiVersion: somagent/v1
kind: Capsule
metadata: {name: both, version: 1.0.0, summary: Count twice.}
spec:
  type: composite
  intent: Count twice.
  inputs: {type: object, additionalProperties: false, properties: {text: {type: string}, n: {type: integer}}}
  deliverable: {value: {words: "${{ tasks.two.output.words }}"}}
  tools: [{use: python@1, actions: [run]}]
  guardrails: {max_steps: 2}
  budget: {tool_calls: 4}
  tasks:
    - {id: one, capsule: word-count@^1, with: {text: "${{ inputs.text }}"}}
    - {id: two, capsule: word-count@^1, needs: [one], with: {text: "${{ string(tasks.one.output.words) }}"}}
"""


def resolve(reference: str) -> Capsule | None:
    try:
        return LIBRARY.capsule(parse_reference(reference))
    except NotFound:
        return None


def problems(text: str) -> list[dict]:
    try:
        check(load(text), LIBRARY, resolve, text=text)
    except Invalid as error:
        return error.fields["problems"]
    return []


@pytest.mark.parametrize("text", [ATOMIC, COMPOSITE])
def test_a_sound_capsule_has_no_problem(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "says", "expected"),
    [
        ("persona: analyst@^1", "persona: analist@^1", 12, "spec.persona", "no persona 'analist@^1'", "analyst@1.0.0"),
        ("persona: analyst@^1", "persona: analyst@9", 12, "spec.persona", "'analyst@9'", "analyst@1.0.0"),
        ("  persona: analyst@^1\n", "", 5, "spec.persona", "needs `persona`", "analyst"),
        ("  model: {role: dialogue}\n", "", 5, "spec.model", "needs `model`", "role"),
        ("use: python@1,", "use: pyton@1,", 14, "spec.tools[0].use", "no tool 'pyton@1'", "python@1.0.0"),
        ("actions: [run]", "actions: [run, rum]", 14, "spec.tools[0].actions[1]", "Did you mean `run`?", "run"),
        ("use: python/run", "use: shell/run", 19, "spec.steps[0].use", "not among the capsule's tools", "python/run"),
        ("type: integer", "type: int", 7, "spec.inputs.properties.a.type", "'int' stands here", "integer"),
        ("required: [a]", "required: a", 7, "spec.inputs.required", "'a' stands here", "array"),
        ("inputs: {type: object", "inputs: {type: array", 7, "spec.inputs.type", "mapping", "`type: object`"),
        ("{type: integer}", "{$ref: 'http://x/y'}", 7, "spec.inputs.properties.a.$ref", "outside", "#/"),
        ("t: {type: string}", "t: {pattern: '['}", 7, "spec.inputs.properties.t.pattern", "regular", "regular"),
        ("size(output.text) > 0", "size(output.text >", 11, "spec.deliverable.accept[0]", "does not parse", "CEL"),
        ("size(output.text)", "len(output.text)", 11, "spec.deliverable.accept[0]", "calls `len`", ""),
        ("size(output.text)", "size(outputs.text)", 11, "spec.deliverable.accept[0]", "`outputs`", "output, inputs"),
        ("size(output.text)", "size(output.txt)", 11, "spec.deliverable.accept[0]", "Did you mean `text`?", "text"),
        ("steps.say.output", "steps.said.output", 10, "spec.deliverable.value.text", "step before", "add, say"),
        ("Say ${{ steps.add", "Say ${{ steps.say", 20, "spec.steps[1].think", "not a step before this", "add"),
        ("Say ${{ steps.add.output }}", "Say ${{ steps.add", 20, "spec.steps[1].think", "not closed", "`${{"),
        ('input: "${{ inputs.a }}"', 'input: "${{ inputs.b }}"', 19, "spec.steps[0].with.input", "`inputs.b`", "a, t"),
        ('code: "print(1)"', "code: 5", 19, "spec.steps[0].with.code", "5 is not of type 'string'", ""),
        ('code: "print(1)"', 'code: "${{ inputs.a }}"', 19, "spec.steps[0].with.code", "gives integer", "string"),
        ('code: "print(1)"', 'code: "${{ inputs }}"', 19, "spec.steps[0].with.code", "gives object", "string"),
        ("steps.say.output", "steps['said'].output", 10, "spec.deliverable.value.text", "step before", "add, say"),
        ("steps.say.output.text", "steps['add'].outputs[0].x", 10, "spec.deliverable.value.text", "`output`?", "text"),
        (
            "- {id: say, think",
            '- {id: more, use: python/run, with: {code: x, files: "${{ steps.add.content }}"}}\n    - {id: say, think',
            20,
            "spec.steps[1].with.files",
            "gives null or string",
            "object",
        ),
        ("inputs.a }}", "[inputs.t].all(x, x == inputs.x) }}", 19, "spec.steps[0].with.input", "`inputs.x`", "a, t"),
        ("inputs.a }}", "[1].all(x, x > 0) ? x : 1 }}", 19, "spec.steps[0].with.input", "names `x`", "inputs, steps"),
        ('code: "print(1)"', "code: x, codes: y", 19, "spec.steps[0].with.codes", "Did you mean `code`?", "files"),
        ("id: say, think", "id: add, think", 20, "spec.steps[1].id", "before this one", "its own"),
        ("example: {a: 1}", "example: {a: one}", 22, "spec.example.a", "'one' is not of type 'integer'", ""),
        ("example: {a: 1}", "example: {}", 22, "spec.example", "'a' is a required property", ""),
        ("tool_calls: 2", "tool_calls: 0", 17, "spec.budget.tool_calls", "allows no call", "at least 1"),
        ("tokens: 1000", "tokens: 0", 17, "spec.budget.tokens", "allows no token", "at least 1"),
        ("max_steps: 3", "max_steps: 1", 16, "spec.guardrails.max_steps", "2 steps", "at least 2"),
        ("0 7 * * 1", "0 25 * * 1", 21, "spec.triggers[0].schedule", "'25' is not a hour", "five cron"),
        ("event.n > 1", "events.n > 1", 21, "spec.triggers[1].when", "`events`", "event"),
        ("${{ inputs.t }}", "${{ steps.add }}", 15, "spec.memory.recall.query", "`steps`", "inputs"),
        (
            "  triggers:",
            "  tasks: [{id: x, capsule: word-count}]\n  triggers:",
            21,
            "spec.tasks",
            "runs no others",
            "composite",
        ),
    ],
)
def test_a_problem_of_an_atomic_capsule_is_told_where_it_is(
    *, old: str, new: str, line: int, path: str, says: str, expected: str
) -> None:
    _assert_problem(ATOMIC, old=old, new=new, line=line, path=path, says=says, expected=expected)


@pytest.mark.parametrize(
    "expression",
    [
        "'inputs.b and steps.x' + inputs.t",
        "[[1]].all(inputs, inputs.all(y, y > 0)) ? inputs.a : 0",
        "{'b': inputs.a}.b",
        "has(inputs.t) ? size(inputs['t']) : inputs.a",
        "inputs . a",
    ],
)
def test_names_in_texts_and_variables_of_macros_are_not_taken_for_fields(expression: str) -> None:
    assert problems(ATOMIC.replace('input: "${{ inputs.a }}"', f'input: "${{{{ {expression} }}}}"')) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "says", "expected"),
    [
        (
            "id: one, capsule: word-count@^1",
            "id: one, capsule: word-cont",
            13,
            "spec.tasks[0].capsule",
            "'word-cont'",
            "published",
        ),
        ("needs: [one]", "needs: [oen]", 14, "spec.tasks[1].needs[0]", "Did you mean `one`?", "one"),
        ("needs: [one]", "needs: [two]", 14, "spec.tasks[1].needs[0]", "waits for itself", "one"),
        ("needs: [one], ", "", 14, "spec.tasks[1].with.text", "not a task before this", "nothing"),
        ("id: two,", "id: one,", 14, "spec.tasks[1].id", "before this one", "its own"),
        ('with: {text: "${{ inputs.text }}"}', "with: {}", 13, "spec.tasks[0].with", "needs `text`", "string"),
        ('{text: "${{ inputs.text }}"}', "{text: x, texts: y}", 13, "spec.tasks[0].with.texts", "`text`?", "text"),
        ('"${{ inputs.text }}"', "7", 13, "spec.tasks[0].with.text", "7 is not of type 'string'", ""),
        ('"${{ inputs.text }}"', '"${{ inputs.n }}"', 13, "spec.tasks[0].with.text", "gives integer", "string"),
        (
            "string(tasks.one.output.words)",
            "tasks.one.output.words",
            14,
            "spec.tasks[1].with.text",
            "gives integer",
            "string",
        ),
        (
            "tasks.one.output.words)",
            "tasks.one.output.wrds)",
            14,
            "spec.tasks[1].with.text",
            "Did you mean `words`?",
            "words",
        ),
        ("tasks.two.output", "tasks.too.output", 8, "spec.deliverable.value.words", "Did you mean `two`?", "one, two"),
        (
            "  tools: [{use: python@1, actions: [run]}]\n",
            "",
            12,
            "spec.tasks[0].capsule",
            "does not declare",
            "python@1",
        ),
        ("budget: {tool_calls: 4}", "budget: {}", 11, "spec.budget.tool_calls", "allows no call", "at least 1"),
        (
            "needs: [one],",
            "needs: [one], budget: {tool_calls: 9},",
            14,
            "spec.tasks[1].budget",
            "carves 9",
            "at least 9",
        ),
        (
            "needs: [one],",
            "needs: [one], when: 'tasks.two.status == 1',",
            14,
            "spec.tasks[1].when",
            "not a task",
            "one",
        ),
        ("  tasks:", "  steps: [{id: s, think: x}]\n  tasks:", 12, "spec.steps", "leaves the work", "task"),
    ],
)
def test_a_problem_of_a_composite_is_told_where_it_is(
    *, old: str, new: str, line: int, path: str, says: str, expected: str
) -> None:
    _assert_problem(COMPOSITE, old=old, new=new, line=line, path=path, says=says, expected=expected)


def _assert_problem(text: str, *, old: str, new: str, line: int, path: str, says: str, expected: str) -> None:
    assert old in text
    found = problems(text.replace(old, new, 1))
    match = [p for p in found if p["path"] == path and says in p["message"]]
    assert match, found
    assert match[0]["line"] == line
    assert expected in match[0]["expected"]


def test_a_cycle_is_told_once_with_its_way() -> None:
    text = COMPOSITE.replace("id: one, capsule: word-count@^1,", "id: one, needs: [two], capsule: word-count@^1,")
    found = [p for p in problems(text) if "wait for each other" in p["message"]]
    assert len(found) == 1
    assert "one → two → one" in found[0]["message"]


def test_a_utility_is_one_tool_action_without_a_model() -> None:
    found = problems(ATOMIC.replace("type: atomic", "type: utility"))
    paths = {p["path"] for p in found}
    assert {"spec.persona", "spec.model", "spec.steps"} <= paths


def test_a_composite_without_tasks_is_refused() -> None:
    text = COMPOSITE.partition("  tasks:")[0].replace(
        'deliverable: {value: {words: "${{ tasks.two.output.words }}"}}', ""
    )
    assert any(p["path"] == "spec.tasks" and "has none" in p["message"] for p in problems(text))


def test_a_tool_step_without_a_persona_needs_all_its_arguments() -> None:
    text = (
        ATOMIC.replace('code: "print(1)", ', "")
        .replace("persona: analyst@^1", "")
        .replace("  model: {role: dialogue}\n", "")
    )
    text = "\n".join(line for line in text.splitlines() if "think:" not in line).replace(
        "steps.say.output.text", "steps.add.text"
    )
    assert any("needs `code`" in p["message"] for p in problems(text))


def test_without_the_text_problems_have_paths_and_no_lines() -> None:
    with pytest.raises(Invalid) as caught:
        check(load(ATOMIC.replace("analyst", "nobody")), LIBRARY, resolve)
    assert caught.value.fields["problems"][0]["path"] == "spec.persona"
    assert caught.value.fields["problems"][0]["line"] is None
