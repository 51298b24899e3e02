"""Preflight of a start: checks its inputs, lists the actions of the capsule, and asks the gate for a verdict.

Each action is built by the function that the activity itself uses.
"""

import logging
from typing import Any

from activities.admission import start_action
from activities.memory import recall_action, remember_action
from activities.model_calls import chat_action
from activities.tools import tool_action
from api.deps import State
from capsules.actions.action import Action
from capsules.actions.verdict import Verdict
from capsules.capsule import Capsule, PublishedCapsule
from capsules.constitutions.proof import Explanation
from capsules.digest import GENESIS, canonical, digest
from capsules.errors import Invalid, PolicyDenied, SomaError
from capsules.identity.authority import Authority
from capsules.json_schema import SchemaProblem, schema_problems, value_problems
from capsules.memory.items import RecallQuery, Remember
from capsules.models.chat import ChatRequest, Message
from capsules.names import parse_reference
from capsules.runs.run import RunStart, StartCapsule
from capsules.tools.tool import ToolCall
from policy.detectors.argument_text import read
from somagent.capsule_files.library import Library

MAX_PROBLEMS = 50
log = logging.getLogger(__name__)


def check_inputs(capsule: Capsule, inputs: dict[str, Any]) -> None:
    """Raise Invalid, with a problem for each wrong field, when the inputs do not follow the capsule's schema."""
    if unusable := schema_problems(capsule.spec.inputs):
        raise Invalid(f"The input schema of {capsule.ref} cannot be used: {unusable[0]}")
    if found := value_problems(capsule.spec.inputs, inputs, most=MAX_PROBLEMS):
        problems = [_input_problem(problem) for problem in found]
        named = ", ".join(dict.fromkeys(p["path"] for p in problems))
        raise Invalid(
            f"The inputs do not follow the schema of {capsule.ref}: {named}.", problems=problems, capsule=capsule.ref
        )


def actions_of(published: PublishedCapsule, library: Library) -> list[Action]:
    """Return one action of each kind that a run of this capsule may take, without arguments."""
    capsule = published.capsule
    spec = capsule.spec
    actions = [start_action(StartCapsule(capsule=capsule.ref, digest=published.digest, inputs=GENESIS))]
    if spec.memory.recall is not None:
        actions.append(recall_action(RecallQuery(space=spec.memory.space, query=spec.intent)))
    if spec.persona is not None:
        actions.append(_chat_action(capsule))
    for use in spec.tools:
        tool = library.tool(parse_reference(use.use))
        for name in use.actions:
            action = tool_action(ToolCall(tool=tool, action=name, arguments={}))
            actions.append(action.model_copy(update={"arguments": GENESIS}))
    if spec.memory.remember != "nothing":
        actions.append(remember_action(Remember(space=spec.memory.space, text=spec.intent)))
    return actions


def input_length(inputs: dict[str, Any]) -> int:
    """Return the number of characters of the inputs as canonical JSON. Forecasts use it."""
    return len(canonical(inputs).decode())


async def preflight_start(state: State, start: RunStart) -> Verdict | None:
    """Return the gate's verdict on this start, or None when it is not known yet: the gate decides at admission.

    Raises PolicyDenied, with the explanation, when the start would be denied.
    """
    request = StartCapsule(
        capsule=start.capsule,
        digest=start.digest,
        inputs=digest(start.inputs),
        input_length=input_length(start.inputs),
        budget=start.budget,
    )
    authority, action = state.tokens.read_authority(start.authority), start_action(request)
    try:
        policy, facts, verdict = await state.gate.dry_run(
            authority, action, authority.run, lambda: read(request), request
        )
    except SomaError as error:
        log.info("preflight.no_verdict code=%s", error.code)
        return None
    if verdict.decision == "deny":
        try:
            explanation = await state.explanations.of(policy, action, facts)
        except SomaError:
            explanation = Explanation(verdict=verdict, sentence=verdict.sentence)
        await _publish_denial(state, authority, action, verdict)
        raise PolicyDenied(
            f"Starting {action.target} is denied: {explanation.sentence}",
            explanation=explanation.model_dump(mode="json"),
        )
    return verdict


async def _publish_denial(state: State, authority: Authority, action: Action, verdict: Verdict) -> None:
    """Publish an event: a denied start has no run whose receipts could record it."""
    data = {
        "actor": authority.actor,
        "kind": action.kind,
        "target": action.target,
        "action": action.digest(),
        "decision": verdict.decision,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "clauses": list(verdict.clauses),
        "sentence": verdict.sentence,
        "constitution": verdict.constitution,
    }
    async with state.db.transaction(authority.tenant) as tx:
        await tx.events.add("policy.decisions", "start.denied", None, data)


def _chat_action(capsule: Capsule) -> Action:
    model = capsule.spec.model
    request = ChatRequest(
        role=model.role if model else "dialogue",
        messages=(Message(role="user", text=capsule.spec.intent),),
        max_output_tokens=model.max_output_tokens if model else 256,
    )
    return chat_action(request)


def _input_problem(problem: SchemaProblem) -> dict[str, Any]:
    # The schema's problem is with the object; name the missing field instead.
    missing = [problem.wanted] if problem.keyword == "required" else []
    return {
        "path": ".".join(str(part) for part in ("inputs", *problem.path, *missing)),
        "message": problem.message,
        "expected": f"{problem.keyword}: {str(problem.wanted)[:200]}",
    }
