"""Capsules: publish a version, list, show, validate a file, and start a run."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from api import run_urls
from api.access import CapsulePublisher, CapsuleReader, CapsuleRunner
from api.deps import Cursor, PageLimit, Soma
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import POLICY_HEADERS, set_policy_headers
from api.middleware.problems import responses
from api.resources.capsules.schemas import CAPSULE_BODY, CapsuleCheck, RunRequest
from api.resources.capsules.service import read_capsule
from api.resources.runs import service as runs
from capsules.base_model import Page
from capsules.capsule import PublishedCapsule
from capsules.names import parse_reference
from capsules.runs.run import RunRecord
from somagent.capsule_files.file_schema import schema
from somagent.identity.signatures import sign_digest

router = APIRouter(prefix="/v1/capsules", tags=["capsules"], route_class=StorableJsonRoute)

Ref = Annotated[
    str,
    Path(
        alias="ref",
        pattern=run_urls.REFERENCE,
        max_length=160,
        description="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.",
        examples=["meeting-summary@1"],
    ),
]


@router.post("", status_code=201, responses=responses(409), openapi_extra=CAPSULE_BODY)
async def publish_capsule(
    request: Request, response: Response, caller: CapsulePublisher, soma: Soma
) -> PublishedCapsule:
    """Publish a version. The same file again returns the published version; other content under it is a conflict."""
    capsule = await read_capsule(request, soma, caller)
    signed = sign_digest(soma.keyring, "publisher", capsule.digest())
    async with soma.db.transaction(caller.tenant) as tx:
        published = await tx.capsules.publish(
            capsule, digest=capsule.digest(), signature=signed.value, key_id=signed.key_id, by=caller.subject
        )
    response.headers["Location"] = f"/v1/capsules/{capsule.ref}"
    return published


@router.post("/validate", responses=responses(), openapi_extra=CAPSULE_BODY)
async def validate_capsule(request: Request, caller: CapsuleReader, soma: Soma) -> CapsuleCheck:
    """Validate a capsule file without publishing it: every problem at once, with line, path and expectation."""
    capsule = await read_capsule(request, soma, caller)
    return CapsuleCheck(ref=capsule.ref, digest=capsule.digest())


@router.get("", responses=responses())
async def list_capsules(
    caller: CapsuleReader, soma: Soma, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[PublishedCapsule]:
    """List every published version by name."""
    async with soma.db.transaction(caller.tenant) as tx:
        return await tx.capsules.list(cursor, limit)


@router.get("/{ref}", responses=responses(404))
async def show_capsule(ref: Ref, caller: CapsuleReader, soma: Soma) -> PublishedCapsule:
    """Show the highest published version that matches the reference, its signature verified."""
    return await runs.find(soma, caller, parse_reference(ref))


@router.post(
    "/{ref}/runs",
    status_code=202,
    responses={
        200: {"model": RunRecord, "description": "This key's run, started before.", **POLICY_HEADERS},
        202: POLICY_HEADERS,
        **responses(404, 409),
    },
)
async def start_run(  # noqa: PLR0913, PLR0917 - a parameter for each part of a start
    ref: Ref,
    body: RunRequest,
    response: Response,
    caller: CapsuleRunner,
    soma: Soma,
    idempotency_key: Annotated[
        str | None,
        Header(pattern=run_urls.KEY, description="The same key with the same request is the same run."),
    ] = None,
) -> RunRecord:
    """Start a run; watch it at Location. Without an Idempotency-Key every request is a new run."""
    key = idempotency_key or secrets.token_hex(8)
    started = await runs.start(
        soma,
        caller,
        reference=parse_reference(ref),
        inputs=body.inputs,
        budget=body.budget,
        key=key,
        project=body.project,
    )
    response.status_code = 202 if started.created else 200
    response.headers["Location"] = run_urls.url(started.run.id)
    if started.verdict is not None:
        set_policy_headers(response, started.verdict)
    return started.run


schemas = APIRouter(prefix="/v1/schemas", tags=["capsules"])


@schemas.get("/capsule.json")
async def capsule_schema() -> dict[str, Any]:
    """Return the JSON Schema of capsule files, for editors and checkers. Needs no token."""
    return schema()
