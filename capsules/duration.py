"""Durations in files and requests: seconds, or `90s`, `10m`, `2h`, `1d`; kept as whole seconds."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TEXT = re.compile(r"^(\d{1,9})([smhd])$")


def parse_seconds(value: Any) -> Any:  # noqa: ANN401 - pydantic's own check follows
    """Turn `10m` into 600; leave everything else to pydantic."""
    if isinstance(value, str):
        match = _TEXT.match(value)
        if match is None:
            raise ValueError(
                f"{value!r} is not a length of time; expected seconds or text such as `90s`, `10m`, `2h`, `1d`"
            )
        return int(match[1]) * _UNITS[match[2]]
    return value


Duration = Annotated[
    int,
    BeforeValidator(parse_seconds),
    Field(strict=True, ge=1, le=366 * 86_400),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d{1,9}[smhd]$"}]}),
]
