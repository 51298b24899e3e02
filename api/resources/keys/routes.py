"""API keys: list, add, rotate and revoke the keys of the tenant's principals. A key itself is shown once."""

from typing import Annotated

from fastapi import Path

from api.access import PrincipalManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit
from api.resources.keys import service
from api.resources.keys.schemas import KeyRequest, KeyResponse, RotationRequest
from api.resources.tokens.routes import SubjectFilter
from capsules.base_model import Page
from capsules.identity.records import ApiKeyRecord

router = resource_router("/v1/keys", "identity")
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["0123456789ab"])]


@router.get("")
async def list_keys(
    caller: PrincipalManager, state: StateDep, of: SubjectFilter = None, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[ApiKeyRecord]:
    """List the tenant's API keys, newest first."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.api_keys.page(of, cursor, limit)


@router.post("", status_code=201, responses=responses(404, 409))
async def add_key(body: KeyRequest, caller: PrincipalManager, state: StateDep) -> KeyResponse:
    """Add an API key for a principal whose capabilities you all have."""
    return await service.add_key(state, caller, body)


@router.post("/{key}/rotate", status_code=201, responses=responses(404, 409))
async def rotate_key(
    key: KeyId, caller: PrincipalManager, state: StateDep, body: RotationRequest | None = None
) -> KeyResponse:
    """Replace a key by a new one with the same limits, and revoke it, now or after an overlap."""
    return await service.rotate_key(state, caller, key, (body or RotationRequest()).overlap_seconds)


@router.delete("/{key}", responses=responses(404))
async def revoke_key(key: KeyId, caller: PrincipalManager, state: StateDep) -> ApiKeyRecord:
    """Revoke a key, with all tokens that came from it. A repeated call is no error."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.api_keys.end(key, by=caller.subject, reason="revoked")
