"""Artifact bytes by their digest, checked on every read."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.access import RunReader
from api.deps import Soma
from api.middleware.problems import responses
from capsules.digest import Digest

router = APIRouter(prefix="/v1/artifacts", tags=["runs"])

BYTES = {"description": "The bytes.", "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
# Artifacts hold what models wrote: a browser must not run them in our origin.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Cache-Control": "private, immutable",
}


@router.get("/{digest}", response_class=Response, responses={200: BYTES, **responses(404)})
async def read_artifact(
    digest: Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$", examples=["sha256:" + "0" * 64])],
    caller: RunReader,
    soma: Soma,
) -> Response:
    """Return stored bytes. Bytes that do not match their digest are refused, never returned."""
    data = await soma.content.get(caller.tenant, Digest(digest))
    return Response(data, media_type="application/octet-stream", headers=HEADERS)
