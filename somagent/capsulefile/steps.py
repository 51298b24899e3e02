"""Fixed steps: each uses a declared tool action with arguments that fit, or asks the persona, and looks only back."""

from collections.abc import Mapping

from capsules.capsule import Spec, Step
from capsules.tool import Tool
from somagent.capsulefile.findings import Findings
from somagent.capsulefile.kinds import thinks
from somagent.capsulefile.mappings import check_mapping
from somagent.capsulefile.problems import Path
from somagent.capsulefile.schemas import check_schema
from somagent.capsulefile.sight import Sight, of_steps
from somagent.capsulefile.translate import suggestion


def check_steps(findings: Findings, spec: Spec, tools: Mapping[str, Tool]) -> None:
    """Check every step; `tools` are the declared ones that exist, by name."""
    seen: set[str] = set()
    for index, step in enumerate(spec.steps):
        path: Path = ("spec", "steps", index)
        if step.id in seen:
            findings.add((*path, "id"), f"There is a step {step.id!r} before this one.", expected="an id of its own")
        seen.add(step.id)
        sight = of_steps(spec, index)
        if step.when is not None:
            findings.expression((*path, "when"), step.when, sight)
        if step.use is not None:
            _check_use(findings, path, step, spec, tools, sight)
        else:
            _check_thought(findings, path, step, sight)


def _check_thought(findings: Findings, path: Path, step: Step, sight: Sight) -> None:
    findings.template((*path, "think"), step.think, sight)
    if step.with_:
        message = "Only a step that uses a tool has arguments."
        findings.add((*path, "with"), message, expected="`${{ }}` in `think`", key=True)
    if step.shape is not None:
        check_schema(findings, (*path, "schema"), step.shape)


def _check_use(  # noqa: PLR0913, PLR0917 - what a step may name
    findings: Findings, path: Path, step: Step, spec: Spec, tools: Mapping[str, Tool], sight: Sight
) -> None:
    if step.shape is not None:
        message = "Only a thought follows a schema."
        findings.add((*path, "schema"), message, expected="no `schema` beside `use`", key=True)
    declared = [f"{use.use.partition('@')[0]}/{action}" for use in spec.tools for action in use.actions]
    wanted = str(step.use)
    if wanted not in declared:
        message = f"{wanted!r} is not among the capsule's tools.{suggestion(wanted, declared)}"
        findings.add(
            (*path, "use"), message, expected=f"one of {', '.join(declared)}" if declared else "a tool in `tools`"
        )
        return
    name, _, action = wanted.partition("/")
    tool = tools.get(name)
    if tool is None or action not in tool.actions:
        return  # said where it is declared
    schema = tool.actions[action].inputs
    # A capsule with a persona may leave arguments to it.
    check_mapping(findings, (*path, "with"), step.with_, schema, sight, of=wanted, complete=not thinks(spec))
