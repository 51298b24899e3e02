"""Work of the tenant routes. Changes are audited in the tenant that they are about and in the caller's."""

from api.audit_entries import audited_change
from api.deps import State
from capsules.errors import Conflict, Denied
from capsules.identity.principal import Principal
from capsules.identity.records import IdentityState, TenantRecord

ACTIONS: dict[IdentityState, str] = {"suspended": "suspended", "active": "resumed", "revoked": "revoked"}


def require_platform(state: State, caller: Principal) -> None:
    """Raise Denied for a principal of another tenant than the platform's."""
    if caller.tenant != state.settings.platform_tenant:
        raise Denied(
            f"Tenants are managed by principals of the tenant {state.settings.platform_tenant!r}, not of "
            f"{caller.tenant!r}.",
            capability="tenant:manage",
        )


async def set_state(state: State, caller: Principal, tenant: str, wanted: IdentityState) -> TenantRecord:
    """Change the state of a tenant. Raises Denied, NotFound, or Conflict when it is revoked or the platform's own."""
    require_platform(state, caller)
    if tenant == caller.tenant:
        raise Conflict("The platform's own tenant stays active: you would lock everybody out.", tenant=tenant)
    async with audited_change(state, caller, f"tenant.{ACTIONS[wanted]}", tenant):
        by = f"{caller.tenant}/{caller.subject}"
        return await state.db.tenants.set_state(tenant, wanted, by=by, sign=state.tokens.sign_record)


async def rotate(state: State, caller: Principal, tenant: str) -> tuple[TenantRecord, int]:
    """Revoke every key and token of a tenant. Return the tenant and how many ended. Raises Denied, NotFound."""
    require_platform(state, caller)
    known = await state.db.tenants.get(tenant)
    by = f"{caller.tenant}/{caller.subject}"
    async with audited_change(state, caller, "tenant.rotated", tenant), state.db.transaction(tenant) as tx:
        await tx.audit.set_actor(by)
        return known, await tx.token_families.end_all(None, by=by, reason="tenant rotated")
