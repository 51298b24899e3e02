"""Base class of the repositories of one tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Repository:
    """Queries and changes of one tenant in one transaction. Row-level security limits the queries to the tenant."""

    connection: AsyncConnection
    tenant: str

    async def _first(self, query: Executable) -> Row[Any] | None:
        return (await self.connection.execute(query)).first()

    async def _all(self, query: Executable, values: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        return (await self.connection.execute(query, values)).all()
