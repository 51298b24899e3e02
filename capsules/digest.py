"""Canonical JSON (RFC 8785) and the content digests over it: the same value has one digest everywhere."""

import hashlib
from typing import Any, NewType

import rfc8785
from pydantic import BaseModel

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

GENESIS = Digest("sha256:" + "0" * 64)
"""What the first receipt of a run links back to."""


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical JSON bytes of a model or JSON value.

    Raises ValueError for what JSON cannot carry exactly (NaN, integers beyond 2**53, other types).
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    return rfc8785.dumps(value)


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest(value: Any) -> Digest:  # noqa: ANN401 - any JSON value
    """Return the digest of a model or JSON value."""
    return sha256(canonical(value))
