"""Capsules: publish a version, list and show versions, validate a file, and the JSON Schema of capsule files."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.access import CapsulePublisher, CapsuleReader
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import CapsuleReference, Cursor, PageLimit, file_body
from api.resources.capsules import service
from api.resources.runs.service import find_capsule
from capsules.base_model import FrozenModel, Page
from capsules.capsule import PublishedCapsule
from capsules.digest import Digest
from capsules.names import parse_reference
from somagent.capsule_files.file_schema import schema

router = resource_router("/v1/capsules", "capsules")
schemas = APIRouter(prefix="/v1/schemas", tags=["capsules"])

CAPSULE_BODY = file_body({"$ref": "#/components/schemas/Capsule"}, "The capsule file.")


class CapsuleCheckResponse(FrozenModel):
    """Reference and digest of a valid capsule file."""

    ref: str
    digest: Digest


@router.post("", status_code=201, responses=responses(409), openapi_extra=CAPSULE_BODY)
async def publish_capsule(
    request: Request, response: Response, caller: CapsulePublisher, state: StateDep
) -> PublishedCapsule:
    """Publish a version. The same file again returns the published version; another file for it is a conflict."""
    published = await service.publish(state, caller, await service.read_capsule(request, state, caller))
    response.headers["Location"] = f"/v1/capsules/{published.capsule.ref}"
    return published


@router.post("/validate", openapi_extra=CAPSULE_BODY)
async def validate_capsule(request: Request, caller: CapsuleReader, state: StateDep) -> CapsuleCheckResponse:
    """Validate a capsule file without publishing it. `problems` lists every error with line, path and expectation."""
    capsule = await service.read_capsule(request, state, caller)
    return CapsuleCheckResponse(ref=capsule.ref, digest=capsule.digest())


@router.get("")
async def list_capsules(
    caller: CapsuleReader, state: StateDep, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[PublishedCapsule]:
    """List every published version by name."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.capsules.list(cursor, limit)


@router.get("/{ref}", responses=responses(404))
async def show_capsule(ref: CapsuleReference, caller: CapsuleReader, state: StateDep) -> PublishedCapsule:
    """Show the highest published version that matches the reference. Its signature is verified."""
    return await find_capsule(state, caller, parse_reference(ref))


@schemas.get("/capsule.json")
async def capsule_schema() -> dict[str, Any]:
    """Return the JSON Schema of capsule files, for editors and checkers. Needs no token."""
    return schema()
