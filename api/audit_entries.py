"""Audit entries of changes that no database trigger sees: changes in Temporal, and tokens, which are not stored."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from api.deps import State
from capsules.errors import SomaError
from capsules.identity.principal import Principal


@contextlib.asynccontextmanager
async def audited_change(
    state: State,
    caller: Principal,
    action: str,
    subject: str,
    **details: Any,  # noqa: ANN401 - JSON values
) -> AsyncIterator[None]:
    """Write an audit entry, then run the change. A change that fails leaves a second entry, `{action}.failed`.

    The entry comes first: a change that cannot be audited is not made. Details contain no content and no secret.
    """
    await _add(state, caller, action, subject, details)
    try:
        yield
    except SomaError as error:
        await _add(state, caller, f"{action}.failed", subject, {"code": error.code})
        raise


async def _add(state: State, caller: Principal, action: str, subject: str, details: dict[str, Any]) -> None:
    async with state.db.transaction(caller.tenant) as tx:
        await tx.audit.add(caller.subject, action, subject, details)
