"""Texts of small capsule files that tests publish."""

import json
import textwrap


def utility(name: str, code: str, *, budget: str = "{tool_calls: 2, wall_clock: 2m}", **guardrails: object) -> str:
    """A utility capsule that runs `code` in the Python sandbox, with its inputs in input.json."""
    rails = ", ".join(f"{key}: {value}" for key, value in {"max_steps": 2, **guardrails}.items())
    return (
        textwrap.dedent(f"""
        apiVersion: somagent/v1
        kind: Capsule
        metadata: {{name: {name}, version: 1.0.0, summary: A test's utility.}}
        spec:
          type: utility
          intent: Run a program.
          inputs: {{type: object}}
          deliverable: {{schema: {{}}}}
          tools: [{{use: python@1, actions: [run]}}]
          guardrails: {{{rails}}}
          budget: {budget}
          steps:
            - id: program
              use: python/run
              with:
                input: "${{{{ inputs }}}}"
                code: |
        """).lstrip()
        + textwrap.indent(textwrap.dedent(code).strip(), " " * 10)
        + "\n"
    )


def composite(name: str, tasks: str, *, value: str = "", budget: str = "{tool_calls: 10, wall_clock: 5m}") -> str:
    """A composite capsule of the given tasks; without `value` its deliverable is the last task's."""
    mapping = f", value: {value}" if value else ""
    head = textwrap.dedent(f"""
        apiVersion: somagent/v1
        kind: Capsule
        metadata: {{name: {name}, version: 1.0.0, summary: A test's composite.}}
        spec:
          type: composite
          intent: Run the tasks.
          inputs: {{type: object}}
          deliverable: {{schema: {{}}{mapping}}}
          tools: [{{use: python@1, actions: [run]}}]
          guardrails: {{max_steps: 10}}
          budget: {budget}
          tasks:
        """).lstrip()
    return head + textwrap.indent(textwrap.dedent(tasks).strip(), " " * 4) + "\n"


def autonomous(name: str, *, accept: str = "true", max_steps: int = 5) -> str:
    """An atomic capsule whose persona chooses its steps: run a program, or finish with a label."""
    return textwrap.dedent(f"""
        apiVersion: somagent/v1
        kind: Capsule
        metadata: {{name: {name}, version: 1.0.0, summary: A test's loop.}}
        spec:
          type: atomic
          intent: "Is this message a greeting or a question? Finish with the label. Message: Hello, how are you today?"
          inputs: {{type: object}}
          deliverable:
            schema: {{type: object, required: [label], additionalProperties: false, properties: {{label: {{enum: [greeting, question]}}}}}}
            accept: ["{accept}"]
          persona: triager@^1
          model: {{role: dialogue, max_output_tokens: 64}}
          tools: [{{use: shell@1, actions: [run]}}]
          guardrails: {{max_steps: {max_steps}, max_repairs: 1}}
          budget: {{tokens: 200000, tool_calls: 10, wall_clock: 5m}}
        """).lstrip()


def thinker(
    name: str, *, wall_clock: str = "3m", steps: str = '[{id: choose, think: "Which colour has the sky?"}]'
) -> str:
    """An atomic capsule whose persona answers with one of three words."""
    return textwrap.dedent(f"""
        apiVersion: somagent/v1
        kind: Capsule
        metadata: {{name: {name}, version: 1.0.0, summary: A test's thinker.}}
        spec:
          type: atomic
          intent: Choose a colour.
          inputs: {{type: object}}
          deliverable:
            schema: {{type: object, required: [colour], properties: {{colour: {{enum: [red, green, blue]}}}}}}
          persona: summarizer@^1
          model: {{role: dialogue, max_output_tokens: 16}}
          tools: [{{use: python@1, actions: [run]}}]
          guardrails: {{max_steps: 4}}
          budget: {{tokens: 20000, tool_calls: 2, wall_clock: {wall_clock}}}
          steps: {steps}
        """).lstrip()


def many_steps(name: str, steps: list[dict[str, object]], *, wall_clock: str = "15m") -> str:
    """An atomic capsule of many steps with the tool `python/run` and a model."""
    return (
        "apiVersion: somagent/v1\nkind: Capsule\n"
        f"metadata: {{name: {name}, version: 1.0.0, summary: Many steps.}}\n"
        "spec:\n  type: atomic\n  intent: Count.\n  inputs: {type: object}\n  deliverable: {schema: {}}\n"
        "  persona: analyst@^1\n  model: {role: dialogue, max_output_tokens: 16}\n"
        "  tools: [{use: python@1, actions: [run]}]\n"
        f"  guardrails: {{max_steps: {len(steps)}}}\n"
        f"  budget: {{tokens: 5000000, tool_calls: {len(steps)}, wall_clock: {wall_clock}}}\n"
        f"  steps: {json.dumps(steps)}\n"
    )


def asks_first(name: str) -> str:
    """A utility capsule that asks a person before it prints 1."""
    return f"""apiVersion: somagent/v1
kind: Capsule
metadata: {{name: {name}, version: 1.0.0, summary: Asks a person before it prints.}}
spec:
  type: utility
  intent: Print one.
  deliverable: {{schema: {{type: integer}}}}
  tools: [{{use: python@1, actions: [run]}}]
  guardrails: {{max_steps: 1, autonomy: manual}}
  budget: {{tool_calls: 1, wall_clock: 10m}}
  steps: [{{id: one, use: python/run, with: {{code: "print(1)"}}}}]
"""
