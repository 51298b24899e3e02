"""Check of a cron expression: five fields, each with its range of numbers and its names."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A field of a cron expression. `words` are the names of its values, in order."""

    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"^(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?$")


def cron_problem(text: str) -> str | None:
    """Return a description of what is wrong with a cron expression, or None."""
    parts = text.split()
    if len(parts) != len(FIELDS):
        return f"{text!r} has {len(parts)} fields; a schedule has 5: minute, hour, day of month, month, day of week"
    for field, part in zip(FIELDS, parts, strict=True):
        for item in part.split(","):
            reason = _item_problem(field, item)
            if reason is not None:
                return f"{item!r} is not a {field.name}: {reason}"
    return None


def _item_problem(field: Field, item: str) -> str | None:
    found = _ITEM.match(item)
    span = f"{field.least} to {field.most}" + (f" or {field.words[0]} to {field.words[-1]}" if field.words else "")
    if found is None:
        return f"expected `*`, {span}, a range, a list or a step"
    ends = [_number(field, end) for end in (found["first"], found["last"]) if end is not None]
    numbers = [number for number in ends if number is not None]
    if len(numbers) != len(ends) or any(not field.least <= number <= field.most for number in numbers):
        return f"expected {span}"
    if numbers != sorted(numbers):
        return "the range runs backwards"
    if found["step"] is not None and int(found["step"]) == 0:
        return "a step of 0 never comes"
    return None


def _number(field: Field, text: str) -> int | None:
    if text.isdigit():
        return int(text)
    word = text.lower()
    start = 0 if field.least == 0 else 1
    return field.words.index(word) + start if word in field.words else None
