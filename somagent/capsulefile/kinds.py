"""Which fields go with which type of capsule: atomic thinks or acts, utility is one action, composite runs others."""

from capsules.capsule import Spec
from somagent.capsulefile.findings import Findings


def check_kind(findings: Findings, spec: Spec) -> None:
    """Check that the fields fit the type, and budget and guardrails fit the fields."""
    match spec.type:
        case "atomic":
            _atomic(findings, spec)
        case "utility":
            _utility(findings, spec)
        case "composite":
            _composite(findings, spec)
    _limits(findings, spec)


def thinks(spec: Spec) -> bool:
    """Say whether a model is needed: a step thinks, or there are no fixed steps."""
    return spec.type == "atomic" and (not spec.steps or any(step.think is not None for step in spec.steps))


def _atomic(findings: Findings, spec: Spec) -> None:
    _forbid(findings, spec, ("tasks",), "An atomic capsule runs no others", "type: composite")
    if thinks(spec):
        for name in ("persona", "model"):
            if getattr(spec, name) is None:
                message = f"An atomic capsule needs `{name}`, unless every step is a tool action."
                findings.add(("spec", name), message, expected="`persona: analyst@^1` and `model: {role: dialogue}`")
    if not spec.steps and spec.deliverable.value is not None:
        message = "`value` maps from steps, and this capsule has none."
        findings.add(("spec", "deliverable", "value"), message, expected="`steps`, or no `value`", key=True)


def _utility(findings: Findings, spec: Spec) -> None:
    _forbid(
        findings, spec, ("tasks", "persona", "model"), "A utility is one tool action without a model", "type: atomic"
    )
    if len(spec.steps) != 1 or spec.steps[0].use is None:
        message = f"A utility has exactly one step, and it uses a tool; this one has {len(spec.steps)} steps."
        findings.add(("spec", "steps"), message, expected="one step with `use`")
    if spec.memory.recall is not None:
        findings.add(("spec", "memory", "recall"), "A utility has nobody to show memories to.", expected="no `recall`")


def _composite(findings: Findings, spec: Spec) -> None:
    what = "A composite capsule leaves the work to its tasks"
    _forbid(findings, spec, ("steps", "persona", "model"), what, "the field in a capsule that is a task")
    if not spec.tasks:
        findings.add(
            ("spec", "tasks"), "A composite capsule has tasks; this one has none.", expected="at least one task"
        )
    for index, rule in enumerate(spec.budget.on_pressure):
        if rule.do in {"cheaper_model", "shorter_outputs"}:
            message = f"A composite capsule asks no model itself, so `{rule.do}` would do nothing."
            where = ("spec", "budget", "on_pressure", index, "do")
            findings.add(where, message, expected="`ask`, `pause` or `stop`; or this rule in a capsule that is a task")


def _forbid(findings: Findings, spec: Spec, names: tuple[str, ...], why: str, instead: str) -> None:
    for name in names:
        if getattr(spec, name):
            findings.add(("spec", name), f"{why}, so it has no `{name}`.", expected=instead, key=True)


def _limits(findings: Findings, spec: Spec) -> None:
    budget = ("spec", "budget")
    if spec.tools and spec.budget.tool_calls == 0:
        findings.add(
            (*budget, "tool_calls"), "Tools are declared, and the budget allows no call.", expected="at least 1"
        )
    if thinks(spec) and spec.budget.tokens == 0:
        findings.add((*budget, "tokens"), "A persona thinks, and the budget allows no token.", expected="at least 1")
    work = len(spec.steps) or len(spec.tasks)
    if spec.guardrails.max_steps < work:
        message = f"There are {work} steps, and the run ends after {spec.guardrails.max_steps}."
        findings.add(("spec", "guardrails", "max_steps"), message, expected=f"at least {work}")
