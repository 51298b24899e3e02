"""Frozen models filled without validation, where every value is ours and typed: a third of a decision's time."""

from typing import Any

from pydantic import BaseModel

_set = object.__setattr__


def fast_model[M: BaseModel](model: type[M], every: set[str], fields: dict[str, Any]) -> M:
    """Return the model. `fields` has all of its fields and becomes its own; `every` holds their names."""
    made = model.__new__(model)
    _set(made, "__dict__", fields)
    _set(made, "__pydantic_fields_set__", every)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made
