"""Hypothetical action: an action and its facts from a few attributes as text, with ordinary values for the rest."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import PPM
from capsules.errors import Invalid
from policy.language.schema import Attribute, Choice, Fixed, Flag, Schema, Text, Whole
from policy.prove.witnesses import action_of, facts_of


def hypothetical_action(attributes: Mapping[str, str], schema: Schema) -> tuple[Action, Facts]:
    """Return the action and the facts. Raises Invalid that names the attribute and what it may be.

    attributes: attribute, such as `action.egress`, to its value as CEL writes it; texts may come without quotes.
    """
    values: dict[str, Any] = {path: a.ordinary for path, a in schema.attributes.items() if not a.optional}
    for path, text in attributes.items():
        attribute = schema.attributes.get(path)
        if attribute is None:
            known = ", ".join(sorted(schema.attributes))
            raise Invalid(f"There is no attribute {path!r}. There are {known}.")
        values[path] = _value(attribute, text.strip())
    return action_of(values), facts_of(values)


def _value(attribute: Attribute, text: str) -> bool | int | str:
    kind = attribute.type
    unquoted = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    match kind:
        case Flag() if text in {"true", "false"}:
            return text == "true"
        case Choice() if unquoted in kind.values:
            return unquoted
        case Text() if unquoted:
            return unquoted
        case Whole() if text.isdigit() and kind.low <= int(text) <= kind.high:
            return int(text)
        case Fixed() if (number := _to_ppm(text)) is not None and kind.low <= number <= kind.high:
            return number
    between = f" from {kind.low / PPM:g} to {kind.high / PPM:g}" if isinstance(kind, Fixed) else ""
    raise Invalid(f"{attribute.path} is {kind}{between}, not {text!r}.")


def _to_ppm(text: str) -> int | None:
    """Return a decimal number in parts per million, or None when the text is not one."""
    try:
        scaled = Decimal(text) * PPM
        return int(scaled) if scaled.is_finite() else None
    except InvalidOperation:
        return None
