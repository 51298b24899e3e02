"""Parameters that resources share: ids in paths, the idempotency key, files as bodies, and the pages of lists."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import Field

from capsules.base_model import FrozenModel
from capsules.digest import Digest

REFERENCE = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*(@(\^?[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[0-9A-Za-z.-]{1,64})?|latest))?$"
"""Pattern of a capsule reference."""
KEY = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""Pattern of an idempotency key or a schedule's name. It becomes part of a run's id."""
RECORD_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$"
"""Pattern of the id of an approval, delegation or standing grant."""
DIGEST = r"^sha256:[0-9a-f]{64}$"
RUN_ID = r"^[ -~]+$"

CapsuleReference = Annotated[
    str,
    Path(
        pattern=REFERENCE,
        max_length=160,
        description="`name`, `name@1`, `name@^1.2` or `name@1.2.0`.",
        examples=["meeting-summary@1"],
    ),
]
RecordId = Annotated[str, Path(pattern=RECORD_ID, examples=["0198c5f0a1b2"])]
DigestPath = Annotated[Digest, Path(pattern=DIGEST, examples=["sha256:" + "0" * 64])]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=KEY, description="A repeated request with the same key and the same content is done only once."),
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=1000,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The field `next` of the previous page.",
    ),
]
PageLimit = Annotated[int, Query(ge=1, le=500, description="Maximum number of items in the page.")]
After = Annotated[
    int, Query(ge=0, le=2**53 - 1, description="The field `next` of the previous page. 0 returns the first page.")
]


def file_body(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the OpenAPI declaration of a body that is a file in JSON or YAML."""
    yaml = {"schema": {"type": "string", "description": text}}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}, "application/yaml": yaml}}
    }


class SequencePage[T](FrozenModel):
    """A page of a numbered list."""

    items: tuple[T, ...]
    next: int | None = Field(None, description="Send it as `after` to get the following page. Null: the last page.")


def sequence_page[T](items: Sequence[T], limit: int, number: Callable[[T], int]) -> SequencePage[T]:
    """Return the page. `next` is the number of the last item when the page is full."""
    return SequencePage(items=tuple(items), next=number(items[-1]) if len(items) == limit else None)
