"""Keyset pagination: a cursor is the sort key of the last item, so that pages stay right while rows arrive."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnClause, Row, Select, literal, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from capsules.base_model import Page
from capsules.errors import Invalid

MAX_LIMIT = 500
MAX_DIGITS = 18  # what a bigint certainly holds


async def read_page[T](  # noqa: PLR0913 - what a page depends on
    connection: AsyncConnection,
    query: Select[Any],
    keys: Sequence[ColumnClause[Any]],
    item: Callable[[Row[Any]], T],
    *,
    cursor: str | None,
    limit: int,
    ascending: bool = False,
) -> Page[T]:
    """Return a page of a query that selects `keys`, sorted by them; they must identify a row.

    Raises Invalid for a limit that is not from 1 to 500, and for a cursor that is not of this list.
    """
    query = query.order_by(*(key if ascending else key.desc() for key in keys)).limit(check_limit(limit) + 1)
    if cursor:
        here, last = tuple_(*keys), tuple_(*_decode(cursor, keys))
        query = query.where(here > last if ascending else here < last)
    rows = (await connection.execute(query)).all()
    # The row beyond the limit says that there is a next page.
    following = _encode(rows[limit - 1], keys) if len(rows) > limit else None
    return Page(items=tuple(item(row) for row in rows[:limit]), next=following)


def check_limit(limit: int) -> int:
    """Return the limit. Raises Invalid when it is not from 1 to 500."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid(f"A page of {limit!r} items cannot be read; ask for 1 to {MAX_LIMIT}.")
    return limit


def _encode(row: Row[Any], keys: Sequence[ColumnClause[Any]]) -> str:
    values = (getattr(row, key.name) for key in keys)
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[ColumnClause[Any]]) -> list[Any]:
    """Return the sort key of a cursor as SQL values."""
    try:
        texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise Invalid(f"{cursor!r} is not a cursor. Use `next` of the page before.") from error
    if not isinstance(texts, list) or len(texts) != len(keys) or not all(isinstance(text, str) for text in texts):
        raise Invalid(f"{cursor!r} is not a cursor of this list. Use `next` of the page before.")
    return [literal(_value(text, key), key.type) for text, key in zip(texts, keys, strict=True)]


def _value(text: str, key: ColumnClause[Any]) -> datetime | int | str:
    match key.type:
        case TIMESTAMP():
            try:
                return datetime.fromisoformat(text)
            except ValueError as error:
                raise Invalid(f"{text!r} in a cursor is not a time. Use `next` of the page before.") from error
        case BigInteger():
            if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
                raise Invalid(f"{text!r} in a cursor is not a number. Use `next` of the page before.")
            return int(text)
        case _:
            return text
