"""How lists are asked for: a cursor from the page before, and how many items."""

from typing import Annotated

from fastapi import Query

Cursor = Annotated[
    str | None,
    Query(max_length=1000, pattern=r"^[A-Za-z0-9_-]+$", description="`next` of the page before; opaque."),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items of a page.")]
