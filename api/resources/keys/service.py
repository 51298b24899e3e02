"""Work of the key routes: issue and rotate API keys."""

import datetime as dt
from typing import Any

from api.access import require_held
from api.deps import State
from api.resources.keys.schemas import KeyRequest, KeyResponse
from capsules.errors import Conflict
from capsules.identity.principal import Principal
from capsules.identity.records import ApiKeyClaims, ApiKeyRecord
from somagent.db.transaction import Transaction
from somagent.identity.api_keys import new_key
from somagent.identity.tokens import Tokens


async def issue(
    tx: Transaction,
    tokens: Tokens,
    subject: str,
    **limits: Any,  # noqa: ANN401 - fields of ApiKeyClaims
) -> tuple[ApiKeyRecord, str]:
    """Add a key of a principal. Return its record and its text. Raises Conflict when the principal is not active."""
    key = new_key(tx.tenant)
    claims = ApiKeyClaims(tenant=tx.tenant, id=key.id, hash=key.hash, subject=subject, **limits)
    return await tx.api_keys.add(claims, proof=tokens.sign_record(claims)), key.text


async def add_key(state: State, caller: Principal, request: KeyRequest) -> KeyResponse:
    """Add a key of a principal. Raises NotFound, Denied when the key could do what the caller cannot, Conflict."""
    limit = None if request.capabilities is None else frozenset[str](request.capabilities)
    ends = None if request.days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=request.days)
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        await _require_issuable(tx, caller, request.subject, limit)
        record, text = await issue(
            tx,
            state.tokens,
            request.subject,
            capabilities=limit,
            expires_at=ends and int(ends.timestamp()),
            confirmation=request.confirmation,
        )
    return KeyResponse(record=record, key=text)


async def rotate_key(state: State, caller: Principal, key: str, overlap_seconds: int) -> KeyResponse:
    """Replace a key by one with the same limits. Raises NotFound, Denied, or Conflict when it ended."""
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.set_actor(caller.subject)
        known = await tx.api_keys.get(key)
        if known.state != "active":
            raise Conflict(f"The API key {key!r} is {known.state} and cannot be rotated. Add a new one.", key=key)
        await _require_issuable(tx, caller, known.subject, known.capabilities)
        record, text = await issue(
            tx,
            state.tokens,
            known.subject,
            capabilities=known.capabilities,
            expires_at=known.expires_at and int(known.expires_at.timestamp()),
            confirmation=known.confirmation,
        )
        await tx.api_keys.end(key, by=caller.subject, reason=f"rotated to {record.id}", seconds=overlap_seconds)
    return KeyResponse(record=record, key=text)


async def _require_issuable(tx: Transaction, caller: Principal, subject: str, limit: frozenset[str] | None) -> None:
    """Raise Denied when a key of a principal could do what the caller, who sees it, cannot."""
    held = (await tx.principals.get(subject)).capabilities
    require_held(caller, held if limit is None else held & limit, f"issue a key of {subject!r} with")
