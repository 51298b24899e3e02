"""The constitution in force, and what it says of an action before anybody takes it."""

from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from api.access import PolicyReader
from api.bodies import KeptRoute
from api.foresight import actions_of
from api.handles import REFERENCE
from api.problems import responses
from api.starting import find
from api.state import Soma
from capsules.action import Action, Autonomy, Facts
from capsules.digest import GENESIS, Digest
from capsules.names import ReferenceText, parse_reference
from capsules.records import ConstitutionRecord
from capsules.verdict import Verdict

router = APIRouter(prefix="/v1", tags=["policy"], route_class=KeptRoute)

EXAMPLE: JsonDict = {"action": {"kind": "tool.invoke", "target": "python@1.0.0/run", "effect": "write"}}


ONE_SUBJECT: list[JsonValue] = [{"required": ["action"]}, {"required": ["capsule"]}]


class SupposedAction(Action):
    """An action that nobody has taken: the digest of its arguments may be left out."""

    arguments: Digest = GENESIS


class SupposedFacts(BaseModel):
    """What the platform would know at that moment."""

    model_config = ConfigDict(extra="forbid")

    autonomy: Autonomy = "supervised"
    headroom: float = Field(1.0, ge=0, le=1)
    denials: int = Field(0, ge=0, le=2**53 - 1)


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


class DryRunResult(BaseModel):
    """What the constitution in force says. Nothing was done, reserved or written."""

    constitution: Digest
    judged: tuple[Judged, ...]


@router.get("/constitution", responses=responses())
async def show_constitution(caller: PolicyReader, soma: Soma) -> ConstitutionRecord:
    """Show the active constitution with its digest and signature."""
    del caller
    return await soma.store.constitutions.active()


@router.post("/policy/dry-run", responses=responses(404))
async def dry_run(body: DryRun, caller: PolicyReader, soma: Soma) -> DryRunResult:
    """Judge an action, or each action that a capsule declares, without any effect."""
    active = await soma.store.constitutions.active()
    policy = await soma.policies.get(active.digest)
    facts = Facts(**body.facts.model_dump(), actor=caller.subject, tenant=caller.tenant)
    if body.action is not None:
        actions = [Action.model_validate(body.action.model_dump())]
    else:
        actions = actions_of(await find(soma, caller, parse_reference(body.capsule or "")), soma.library)
    judged = tuple(Judged(action=action, verdict=policy.judge(action, facts)) for action in actions)
    return DryRunResult(constitution=active.digest, judged=judged)
