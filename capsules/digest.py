"""Canonical JSON (RFC 8785), content digests over it, and the port of the content store."""

import hashlib
import json
from typing import Any, NewType, Protocol

import rfc8785
from pydantic import BaseModel

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

EXACT = 2**53 - 1
"""Greatest integer that every JSON implementation reads exactly."""

POINTED = 1e-4
"""Least magnitude of a fraction that Python prints without an exponent."""

_fast = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

GENESIS = Digest("sha256:" + "0" * 64)
"""The previous hash of a run's first receipt."""


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical JSON bytes of a model or JSON value.

    Raises ValueError for what JSON cannot carry exactly (NaN, integers beyond 2**53, other types).
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    try:
        plain = _plain(value)
    except _NeedsFullEncoder:
        return rfc8785.dumps(value)
    return _fast(plain).encode()


class _NeedsFullEncoder(ValueError):
    """The standard library's encoder does not write this value as RFC 8785 requires."""


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value whose canonical bytes the fast encoder writes, or raise _NeedsFullEncoder."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return {_key(key): _plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if (kind is int or kind is float) and -EXACT <= value <= EXACT:
        return _number(value)
    raise _NeedsFullEncoder


def _key(key: Any) -> str:  # noqa: ANN401 - as read
    if type(key) is str and key.isascii():  # others sort by UTF-16 code units
        return key
    raise _NeedsFullEncoder


def _number(value: float) -> float:
    """ECMAScript and Python both print the shortest digits that read back; they differ in when an exponent is used."""
    if isinstance(value, int) or value.is_integer():
        return int(value)
    if abs(value) >= POINTED:
        return value
    raise _NeedsFullEncoder


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def sha3_512(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return `sha3-512:` and the hexadecimal SHA3-512 of a JSON value's canonical bytes."""
    return "sha3-512:" + hashlib.sha3_512(canonical(value)).hexdigest()


def digest(value: Any) -> Digest:  # noqa: ANN401 - any JSON value
    """Return the digest of a model or JSON value."""
    return sha256(canonical(value))


class ContentStore(Protocol):
    """Port of the content store: bytes by digest, separately for each tenant."""

    async def put(self, tenant: str, data: bytes, media_type: str) -> Digest: ...

    async def get(self, tenant: str, digest: Digest) -> bytes:
        """Return the bytes. Raises NotFound, or TamperedContent when they do not match the digest."""
        ...
