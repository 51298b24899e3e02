"""Audit entries of changes outside the database: in Temporal, and tokens, which are not stored."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from api.deps import State
from capsules.errors import SomaError
from capsules.identity.principal import Principal


@contextlib.asynccontextmanager
async def audited(soma: State, caller: Principal, action: str, subject: str, **details: Any) -> AsyncIterator[None]:  # noqa: ANN401 - JSON values
    """Write an entry, then let the change be made; one that fails leaves a second entry that says so.

    In this order, since what cannot be audited is not done. Details hold no content and no secret.
    """
    await _add(soma, caller, action, subject, details)
    try:
        yield
    except SomaError as error:
        await _add(soma, caller, f"{action}.failed", subject, {"code": error.code})
        raise


async def _add(soma: State, caller: Principal, action: str, subject: str, details: dict[str, Any]) -> None:
    async with soma.db.transaction(caller.tenant) as tx:
        await tx.audit.add(caller.subject, action, subject, details)
