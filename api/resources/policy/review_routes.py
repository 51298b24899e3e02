"""Reviewing constitutions before anybody proposes one: read, prove, compare. Nothing is kept."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.access import PolicyReader
from api.deps import Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.policy.subjects import Overlays, Subject, document_of, read
from capsules.constitutions.proof import CheckedConstitution, Difference, Review
from policy.prove import review
from policy.prove.difference import compare
from somagent.capsule_files.document import read as read_file

router = APIRouter(prefix="/v1/policy", tags=["policy"], route_class=StorableJsonRoute)

Seconds = Annotated[float, Field(gt=0, le=10, description="How long each property may take.")]
TOTAL_SECONDS = 60.0

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "A constitution or an overlay."}},
            "application/yaml": {"schema": {"type": "string", "description": "Its file."}},
        },
    }
}


class ToProve(BaseModel):
    """A constitution, and what is laid over it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"constitution": "active"}]})

    constitution: Subject = "active"
    overlays: Overlays = ()
    seconds: Seconds = 5.0


class ToCompare(BaseModel):
    """Two versions."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"old": "active", "new": "active"}]})

    old: Subject = "active"
    new: Subject
    overlays: Overlays = ()
    seconds: Seconds = 5.0


@router.post("/check", responses=responses(400), openapi_extra=FILE_BODY)
async def check(request: Request, caller: PolicyReader, soma: Soma) -> CheckedConstitution:
    """Read and type a constitution, or an overlay on the active one: every fault at once, with clause and place."""
    text = (await request.body()).decode("utf-8", errors="replace")
    is_json = "json" in request.headers.get("content-type", "")
    document = read_file(text, filename="constitution.json" if is_json else "constitution.yaml").value
    overlays = [document] if document.get("kind") == "Overlay" else []
    base = await document_of(soma, caller, "active") if overlays else document

    def piece() -> CheckedConstitution:
        found = review.candidate(base, overlays)
        metadata = document["metadata"]
        kind, name, version = str(document["kind"]), str(metadata["name"]), str(metadata["version"])
        return review.checked(found, kind=kind, name=name, version=version)

    return await read(soma, piece)


@router.post("/prove", responses=responses(404))
async def prove(body: ToProve, caller: PolicyReader, soma: Soma) -> Review:
    """Prove what activation needs: each property proved, refuted by an action that contradicts it, or not in time."""
    document = await document_of(soma, caller, body.constitution)

    def piece() -> Review:
        found = review.candidate(document, body.overlays)
        return review.review(found, seconds=body.seconds, total=TOTAL_SECONDS)

    return await read(soma, piece)


@router.post("/diff", responses=responses(404))
async def diff(body: ToCompare, caller: PolicyReader, soma: Soma) -> Difference:
    """Say what is decided otherwise by the new one: for each of the six ways an action that shows it, or none."""
    old = await document_of(soma, caller, body.old)
    new = await document_of(soma, caller, body.new)

    def piece() -> Difference:
        before, after = review.candidate(old), review.candidate(new, body.overlays)
        return compare(before.policy, after.policy, seconds=body.seconds)

    return await read(soma, piece)
