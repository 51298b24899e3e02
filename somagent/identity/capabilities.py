"""Capabilities of callers, and the principals of a local stack: operator, approver, and those of SOMAGENT_PEOPLE."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import StringConstraints

from capsules.errors import Invalid
from capsules.identity.principal import Principal

Capability = Literal[
    "capsule:publish",
    "capsule:read",
    "capsule:run",
    "run:read",
    "run:control",
    "approval:read",
    "approval:decide",
    "approval:standing",
    "schedule:manage",
    "budget:read",
    "budget:raise",
    "policy:read",
    "constitution:propose",
    "constitution:approve",
    "constitution:revoke",
    "principal:manage",
    "tenant:manage",
    "audit:read",
    "retention:manage",
]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

ROLE = r"^approval:[a-z][a-z0-9-]{0,40}$"
Role = Annotated[str, StringConstraints(pattern=ROLE)]
"""A group of approvers that a constitution asks for by name: `approval:security`."""

# Separation of duties: the operator lacks what the approver decides.
OPERATOR: frozenset[str] = frozenset(CAPABILITIES) - {
    "approval:decide",
    "approval:standing",
    "budget:raise",
    "constitution:approve",
    "retention:manage",
}
APPROVER: frozenset[str] = frozenset(
    {
        "approval:read",
        "approval:decide",
        "approval:standing",
        "budget:raise",
        "run:read",
        "budget:read",
        "capsule:read",
        "policy:read",
        "constitution:approve",
        "audit:read",
        "retention:manage",
    }
)


def local_principals(tenant: str) -> tuple[Principal, Principal]:
    """Return the local stack's operator and approver of `tenant`."""
    return (
        Principal(tenant=tenant, subject="operator", capabilities=OPERATOR),
        Principal(tenant=tenant, subject="approver", capabilities=APPROVER),
    )


def local_people(tenant: str, people: Mapping[str, Sequence[str]]) -> tuple[Principal, ...]:
    """Return all principals of a local stack. Raises Invalid for a taken name or an unknown capability."""
    known = local_principals(tenant)
    taken = sorted({principal.subject for principal in known} & people.keys())
    if taken:
        raise Invalid(f"SOMAGENT_PEOPLE names {', '.join(taken)}, whom every local stack has; choose another name.")
    for name, held in people.items():
        unknown = [one for one in held if one not in CAPABILITIES and not re.match(ROLE, one)]
        if unknown:
            raise Invalid(
                f"SOMAGENT_PEOPLE gives {name!r} {unknown[0]!r}, which is no capability. "
                f"Known: {', '.join(CAPABILITIES)}, and roles such as approval:security."
            )
    more = (Principal(tenant=tenant, subject=name, capabilities=frozenset(held)) for name, held in people.items())
    return (*known, *more)
