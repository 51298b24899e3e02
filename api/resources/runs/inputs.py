"""A run's inputs against its capsule's JSON Schema: every problem at once, each with the path of its field."""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing.exceptions import Unresolvable

from capsules.capsule import Capsule
from capsules.errors import Invalid

MOST_PROBLEMS = 50


def check_inputs(capsule: Capsule, inputs: dict[str, Any]) -> None:
    """Raise Invalid with a problem for each field that does not follow the schema."""
    try:
        Draft202012Validator.check_schema(capsule.spec.inputs)
        errors = list(Draft202012Validator(capsule.spec.inputs).iter_errors(inputs))
    except (SchemaError, Unresolvable, RecursionError) as error:
        raise Invalid(f"The input schema of {capsule.ref} cannot be used: {str(error)[:500]}") from error
    if errors:
        problems = [_problem(error) for error in errors[:MOST_PROBLEMS]]
        named = ", ".join(dict.fromkeys(p["path"] for p in problems))
        raise Invalid(
            f"The inputs do not follow the schema of {capsule.ref}: {named}.", problems=problems, capsule=capsule.ref
        )


def _problem(error: ValidationError) -> dict[str, Any]:
    path = ["inputs", *error.absolute_path]
    if error.validator == "required" and isinstance(error.instance, dict) and isinstance(error.validator_value, list):
        # The schema's error names the object; people look for the field that is missing.
        missing = [name for name in error.validator_value if name not in error.instance]
        path += missing[:1] if len(missing) == 1 else []
    return {
        "path": ".".join(str(part) for part in path),
        "message": error.message[:500],
        "expected": f"{error.validator}: {str(error.validator_value)[:200]}",
    }
