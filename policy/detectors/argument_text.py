"""Argument text: every name, string and number in an activity's input, one a line.

At most `LIMIT` characters are read. A text that was not read as a whole gets the worst score of every text detector.
"""

import base64
import binascii
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import re2
from pydantic import BaseModel

LIMIT = 131_072
"""Characters read of one action. Temporal carries at most 2 MiB."""

DEPTH = 64
"""Levels of nesting. Deeper ones are not read, which counts like a text that is too long."""

BLOB = re2.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}|(?i)(?:[0-9a-f]{2}){24,}")
BLOBS = 64
"""Encoded runs that are opened in one text."""

PRINTABLE = 0.9
"""Share of characters that a decoded run must have that people can read; pictures and digests have far fewer."""


class _TooDeep(Exception):
    """The input is nested deeper than is read."""


@dataclass(frozen=True)
class Reading:
    """A text as it was read."""

    text: str
    whole: bool = True
    """False when the input was cut."""

    @cached_property
    def bytes(self) -> bytes:
        return self.text.encode("utf-8", "replace")

    @cached_property
    def decoded(self) -> str:
        """Readable texts inside Base64 and hexadecimal runs, one level deep."""
        found = []
        for number, match in enumerate(BLOB.finditer(self.bytes)):
            if number == BLOBS:
                break
            found += list(_readable(match[0]))
        return "\n".join(found)


def read(*values: Any, limit: int = LIMIT) -> Reading:  # noqa: ANN401 - any input of an activity
    """Read every string and number inside the values."""
    lines: list[str] = []
    left = limit
    try:
        for line in _lines(values, "", DEPTH):
            lines.append(line[:left])
            if len(line) > left:
                return Reading("\n".join(lines), whole=False)
            left -= len(line) + 1
    except _TooDeep:
        return Reading("\n".join(lines), whole=False)
    return Reading("\n".join(lines))


def _lines(value: Any, name: str, depth: int) -> Iterator[str]:  # noqa: ANN401 - any input of an activity
    if depth == 0:
        raise _TooDeep
    inside = _members(value)
    if inside is not None:
        for key, member in inside:
            yield from _lines(member, key, depth - 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for member in value:
            yield from _lines(member, name, depth - 1)
    elif value is not None and not isinstance(value, bool):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
        yield f"{name}: {text}" if name else text


def _members(value: Any) -> Iterator[tuple[str, Any]] | None:  # noqa: ANN401 - any input of an activity
    if isinstance(value, Mapping):
        return ((str(key), member) for key, member in value.items())
    if isinstance(value, BaseModel):
        return iter(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    return None


def _readable(run: bytes) -> Iterator[str]:
    for opened in (_from_hex(run), _from_base64(run)):
        text = opened.decode("utf-8", "replace") if opened else ""
        readable = sum(c.isprintable() or c in "\n\r\t" for c in text) - text.count("\N{REPLACEMENT CHARACTER}")
        if text and readable >= PRINTABLE * len(text):
            yield text


def _from_hex(run: bytes) -> bytes:
    try:
        return binascii.unhexlify(run)
    except binascii.Error:
        return b""


def _from_base64(run: bytes) -> bytes:
    bare = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(bare[: len(bare) - (len(bare) % 4 == 1)] + b"=" * (-len(bare) % 4))
    except binascii.Error:
        return b""
