"""Tenants: list, suspend, resume, revoke and rotate them, by principals of the platform's tenant.

The owner of the installation adds tenants (`python -m workers.tenants add`).
"""

from typing import Annotated

from fastapi import Path

from api.access import TenantManager
from api.deps import StateDep
from api.middleware.problems import resource_router, responses
from api.resources.tenants import service
from capsules.base_model import FrozenModel, Page
from capsules.identity.records import TenantRecord
from capsules.names import TenantId

router = resource_router("/v1/tenants", "identity")
TenantPath = Annotated[TenantId, Path(examples=["acme"])]


class RotatedTenant(FrozenModel):
    """A tenant whose keys and tokens were all revoked."""

    tenant: TenantRecord
    ended: int


@router.get("")
async def list_tenants(caller: TenantManager, state: StateDep) -> Page[TenantRecord]:
    """List every tenant with its state."""
    service.require_platform(state, caller)
    return Page(items=await state.db.tenants.records())


@router.get("/{tenant}", responses=responses(404))
async def show_tenant(tenant: TenantPath, caller: TenantManager, state: StateDep) -> TenantRecord:
    """Show a tenant and its state."""
    service.require_platform(state, caller)
    return await state.db.tenants.get(tenant)


@router.post("/{tenant}/suspend", responses=responses(404, 409))
async def suspend(tenant: TenantPath, caller: TenantManager, state: StateDep) -> TenantRecord:
    """Refuse everybody of a tenant until it is resumed."""
    return await service.set_state(state, caller, tenant, "suspended")


@router.post("/{tenant}/resume", responses=responses(404, 409))
async def resume(tenant: TenantPath, caller: TenantManager, state: StateDep) -> TenantRecord:
    """Let the principals of a suspended tenant in again."""
    return await service.set_state(state, caller, tenant, "active")


@router.post("/{tenant}/revoke", responses=responses(404, 409))
async def revoke(tenant: TenantPath, caller: TenantManager, state: StateDep) -> TenantRecord:
    """Refuse everybody of a tenant for ever, and revoke all its keys and tokens. Its records stay."""
    return await service.set_state(state, caller, tenant, "revoked")


@router.post("/{tenant}/rotate", responses=responses(404))
async def rotate(tenant: TenantPath, caller: TenantManager, state: StateDep) -> RotatedTenant:
    """Revoke every key and token of a tenant. The owner issues new ones: `python -m workers.tenants rotate`."""
    known, ended = await service.rotate(state, caller, tenant)
    return RotatedTenant(tenant=known, ended=ended)
