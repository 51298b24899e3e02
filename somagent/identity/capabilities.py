"""What a caller may do, and the two people that every laptop has: one who runs and one who decides."""

from typing import Literal, get_args

from capsules.records import Principal

Capability = Literal[
    "capsule:publish",
    "capsule:read",
    "capsule:run",
    "run:read",
    "run:control",
    "approval:read",
    "approval:decide",
    "schedule:manage",
    "budget:read",
    "budget:raise",
    "policy:read",
    "principal:manage",
]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

# Who asks may not decide: the operator lacks exactly what the approver is there for.
OPERATOR: frozenset[str] = frozenset(CAPABILITIES) - {"approval:decide", "budget:raise"}
APPROVER: frozenset[str] = frozenset(
    {"approval:read", "approval:decide", "budget:raise", "run:read", "budget:read", "capsule:read"}
)


def local_principals(tenant: str) -> tuple[Principal, Principal]:
    """Return the local stack's operator and approver of `tenant`."""
    return (
        Principal(tenant=tenant, subject="operator", capabilities=OPERATOR),
        Principal(tenant=tenant, subject="approver", capabilities=APPROVER),
    )
