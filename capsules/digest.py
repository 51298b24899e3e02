"""Canonical JSON (RFC 8785) and the content digests over it: the same value has one digest everywhere."""

import hashlib
import json
from typing import Any, NewType

import rfc8785
from pydantic import BaseModel

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

EXACT = 2**53 - 1
"""Greatest integer that every JSON implementation reads exactly."""

GENESIS = Digest("sha256:" + "0" * 64)
"""What the first receipt of a run links back to."""


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical JSON bytes of a model or JSON value.

    Raises ValueError for what JSON cannot carry exactly (NaN, integers beyond 2**53, other types).
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    if _plain(value):
        # The same bytes five times faster: the two encoders differ in floats and in the order of non-ASCII keys alone.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return rfc8785.dumps(value)


def _plain(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-EXACT <= value <= EXACT)
    if kind is dict:
        return all(type(key) is str and key.isascii() and _plain(item) for key, item in value.items())
    return (kind is list or kind is tuple) and all(map(_plain, value))


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def sha3_512(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return `sha3-512:` and the hexadecimal SHA3-512 of a JSON value's canonical bytes."""
    return "sha3-512:" + hashlib.sha3_512(canonical(value)).hexdigest()


def digest(value: Any) -> Digest:  # noqa: ANN401 - any JSON value
    """Return the digest of a model or JSON value."""
    return sha256(canonical(value))
