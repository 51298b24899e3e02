"""Principals: add them with an API key, change what they may do, suspend, resume, revoke and rotate.

A change counts within a second, also for tokens that exist. Nobody gives a capability that they do not have.
"""

from typing import Annotated

from fastapi import Path

from api.access import Caller, PrincipalManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.parameters import Cursor, PageLimit
from api.resources.principals import service
from api.resources.principals.schemas import CapabilitiesRequest, PrincipalRequest, PrincipalResponse
from capsules.base_model import Page
from capsules.identity.principal import Principal, Subject
from capsules.identity.records import PrincipalRecord

router = resource_router("/v1/principals", "identity")
SubjectPath = Annotated[Subject, Path(examples=["ci"])]


@router.get("/self")
async def who_am_i(caller: Caller) -> Principal:
    """Show the principal of the token."""
    return caller


@router.get("")
async def list_principals(
    caller: PrincipalManager, state: StateDep, cursor: Cursor = None, limit: PageLimit = 500
) -> Page[PrincipalRecord]:
    """List the tenant's principals."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.principals.page(cursor, limit)


@router.post("", status_code=201, responses=responses(409))
async def add_principal(body: PrincipalRequest, caller: PrincipalManager, state: StateDep) -> PrincipalResponse:
    """Add a principal with an API key. A name that exists is a conflict: a second key would act in its name."""
    return await service.add_principal(state, caller, body)


@router.get("/{subject}", responses=responses(404))
async def show_principal(subject: SubjectPath, caller: PrincipalManager, state: StateDep) -> PrincipalRecord:
    """Show a principal, its state and its capabilities."""
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.principals.get(subject)


@router.put("/{subject}", responses=responses(404, 409))
async def set_capabilities(
    subject: SubjectPath, body: CapabilitiesRequest, caller: PrincipalManager, state: StateDep
) -> PrincipalRecord:
    """Set what a principal may do. You can give what you have, and take away anything."""
    return await service.set_capabilities(state, caller, subject, frozenset(body.capabilities))


@router.post("/{subject}/suspend", responses=responses(404, 409))
async def suspend(subject: SubjectPath, caller: PrincipalManager, state: StateDep) -> PrincipalRecord:
    """Refuse a principal until it is resumed. Its keys and tokens stay, and are refused too."""
    return await service.set_state(state, caller, subject, "suspended")


@router.post("/{subject}/resume", responses=responses(404, 409))
async def resume(subject: SubjectPath, caller: PrincipalManager, state: StateDep) -> PrincipalRecord:
    """Let a suspended principal in again."""
    return await service.set_state(state, caller, subject, "active")


@router.post("/{subject}/revoke", responses=responses(404))
async def revoke(subject: SubjectPath, caller: PrincipalManager, state: StateDep) -> PrincipalRecord:
    """Refuse a principal for ever, and revoke its keys and tokens. Its name is not used again."""
    return await service.set_state(state, caller, subject, "revoked")


@router.post("/{subject}/rotate", status_code=201, responses=responses(404, 409))
async def rotate(subject: SubjectPath, caller: PrincipalManager, state: StateDep) -> PrincipalResponse:
    """Revoke every key and token of a principal, and give it one new API key."""
    return await service.rotate(state, caller, subject)
