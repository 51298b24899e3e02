"""CEL expressions: the one expression language of capsules, policies and triggers.

Workflows evaluate conditions and mappings too. The evaluator is pure and deterministic (no clock, no input, no state),
so workflows may use it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cel

from capsules.digest import canonical
from capsules.errors import Invalid

_TEMPLATE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
MAX_LENGTH = 4096
EVALUATION_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of the evaluator for an expression that does not fit the variables."""


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> cel.Program:
    """Return the compiled expression. Raises Invalid with the parser's message."""
    if len(text) > MAX_LENGTH:
        raise Invalid(f"An expression may have {MAX_LENGTH} characters; this one has {len(text)}.")
    try:
        return cel.compile(text)
    except ValueError as error:
        raise Invalid(f"The expression {text!r} does not parse: {error}") from error


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Evaluate one expression. Raises Invalid when it cannot be evaluated with these variables."""
    program = compile_expression(text)
    try:
        return program.execute(dict(variables))
    except EVALUATION_ERRORS as error:
        raise Invalid(f"The expression {text!r} cannot be evaluated: {error}") from error


def evaluate_condition(text: str, variables: Mapping[str, Any]) -> bool:
    """Evaluate a condition. Raises Invalid unless it gives true or false."""
    result = evaluate(text, variables)
    if not isinstance(result, bool):
        raise Invalid(f"The condition {text!r} gave {result!r}; it must give true or false.")
    return result


def fill_template(value: Any, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Replace every `${{ expression }}` in a JSON value; a string that is one expression takes its value's type."""
    if isinstance(value, str):
        return _fill_text(value, variables)
    if isinstance(value, Mapping):
        return {key: fill_template(item, variables) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill_template(item, variables) for item in value]
    return value


def expressions_in(value: Any) -> list[str]:  # noqa: ANN401 - any JSON value
    """Return every expression inside the templates of a JSON value."""
    if isinstance(value, str):
        return [match.strip() for match in _TEMPLATE.findall(value)]
    if isinstance(value, Mapping):
        return [e for item in value.values() for e in expressions_in(item)]
    if isinstance(value, list | tuple):
        return [e for item in value for e in expressions_in(item)]
    return []


def _fill_text(text: str, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    whole = _TEMPLATE.fullmatch(text.strip())
    if whole is not None and text.count("${{") == 1:
        return evaluate(whole[1].strip(), variables)
    return _TEMPLATE.sub(lambda match: _as_text(evaluate(match[1].strip(), variables)), text)


def _as_text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    return canonical(value).decode()
