"""Cursors of lists: the sort key of the last item, opaque to callers, so that pages stay right while rows arrive."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from capsules.errors import Invalid
from capsules.read_models import Page

MAX_LIMIT = 500
MOST_DIGITS = 18  # what a bigint certainly holds


def bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid(f"A page of {limit!r} items cannot be read; ask for 1 to {MAX_LIMIT}.")
    return limit


def encode(*key: Any) -> str:  # noqa: ANN401 - strings and numbers
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str, *, parts: int) -> list[Any]:
    """Return the sort key of a cursor. Raises Invalid for one that we did not make."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise Invalid(f"{cursor!r} is not a cursor. Use `next` of the page before.") from error
    if not isinstance(key, list) or len(key) != parts or not all(isinstance(part, str) for part in key):
        raise Invalid(f"{cursor!r} is not a cursor of this list. Use `next` of the page before.")
    return key


def moment(text: str) -> datetime:
    """Return the time in a cursor."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text!r} in a cursor is not a time. Use `next` of the page before.") from error


def number(text: str) -> int:
    """Return the number in a cursor."""
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise Invalid(f"{text!r} in a cursor is not a number. Use `next` of the page before.")
    return int(text)


def page[Row, T](
    rows: Sequence[Row], *, limit: int, item: Callable[[Row], T], key: Callable[[Row], tuple[str, ...]]
) -> Page[T]:
    """Return a page of `limit` items from `limit + 1` rows; the one too many says that there is a next page."""
    shown = rows[:limit]
    following = encode(*key(shown[-1])) if len(rows) > limit else None
    return Page(items=tuple(item(row) for row in shown), next=following)
