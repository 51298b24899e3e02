"""The constitution in force, and what it says of an action before anybody takes it."""

from typing import Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from api.access import PolicyReader
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import responses
from api.resources.policy.dry_run import SupposedAction, SupposedFacts
from api.resources.runs.preflight import actions_of
from api.resources.runs.service import find
from api.run_urls import REFERENCE
from capsules.actions.action import Action
from capsules.actions.verdict import Verdict
from capsules.constitutions.proof import Explanation
from capsules.digest import Digest
from capsules.names import ReferenceText, parse_reference
from capsules.read_models import ConstitutionRecord

router = APIRouter(prefix="/v1", tags=["policy"], route_class=StorableJsonRoute)

EXAMPLE: JsonDict = {"action": {"kind": "tool.invoke", "target": "python@1.0.0/run", "effect": "write"}}


ONE_SUBJECT: list[JsonValue] = [{"required": ["action"]}, {"required": ["capsule"]}]


class DryRun(BaseModel):
    """One action, or every kind of action that a capsule declares."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [EXAMPLE, {"capsule": "log-triage@1"}], "oneOf": ONE_SUBJECT}
    )

    action: SupposedAction | None = None
    capsule: ReferenceText | None = Field(None, pattern=REFERENCE, max_length=160)
    facts: SupposedFacts = SupposedFacts()

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.action is None) == (self.capsule is None):
            raise ValueError("a dry run has either `action` or `capsule`")
        return self


class Judged(BaseModel):
    action: Action
    verdict: Verdict
    explanation: Explanation | None = Field(None, description="Of what is asked or denied.")


class DryRunResult(BaseModel):
    """What the constitution in force says. Nothing was done, reserved or written."""

    constitution: Digest
    judged: tuple[Judged, ...]


@router.get("/constitution", responses=responses())
async def show_constitution(caller: PolicyReader, soma: Soma) -> ConstitutionRecord:
    """Show the constitution that is active for the caller's tenant, with its digests and signatures."""
    return await soma.store.constitutions.active(caller.tenant)


@router.post("/policy/dry-run", responses={200: POLICY_HEADERS, **responses(404)})
async def dry_run(body: DryRun, caller: PolicyReader, soma: Soma, response: Response) -> DryRunResult:
    """Judge an action, or each action that a capsule declares, without any effect; explain what is not allowed."""
    active = await soma.store.constitutions.active(caller.tenant)
    policy = await soma.policies.get(active.digest)
    facts = body.facts.of(caller)
    if body.action is not None:
        actions = [body.action.plain()]
    else:
        actions = actions_of(await find(soma, caller, parse_reference(body.capsule or "")), soma.library)
    judged = []
    for action in actions:
        verdict = policy.judge(action, facts)
        explained = None if verdict.decision == "allow" else await soma.explanations.of(policy, action, facts)
        judged.append(Judged(action=action, verdict=verdict, explanation=explained))
    set_policy_headers(response, *(one.verdict for one in judged))
    return DryRunResult(constitution=active.digest, judged=tuple(judged))
