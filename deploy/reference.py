"""Generated parts of the documents, each as Markdown: settings, routes, errors, commands, events, fields, clauses."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, get_args

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic_core import PydanticUndefined
from typer.main import get_command

from api.access import RequireCapability
from api.app import ROUTERS
from capsules import errors, events
from capsules.actions.verdict import PPM
from capsules.capsule import Capsule
from policy.language.constitution import Guarantee, parse
from policy.language.schema import ACTION_SCHEMA, Attribute, Choice, Fixed, format_value
from somagent.capsule_files.library import Library
from somagent.cli.exit_codes import BY_STATUS, MEANINGS
from somagent.cli.main import app as cli
from somagent.identity.capabilities import APPROVER, CAPABILITIES, OPERATOR
from somagent.settings import Settings

# What any endpoint may answer is said once above the table.
ANYWHERE = {"401", "403", "413", "422", "429", "503"}
# These two look at the caller themselves: Temporal UI asks them from a browser on the same machine, without a token.
OTHERWISE = {"/v1/codec/": "run:read, or this machine"}


def table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table. A bar inside a cell would end the cell."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '\\|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def settings() -> str:
    return table(
        ("variable", "default", "what it is"),
        (
            (
                code(f"SOMAGENT_{name.upper()}"),
                _default(field.get_default(call_default_factory=True)),
                field.description or "",
            )
            for name, field in Settings.model_fields.items()
        ),
    )


def routes() -> str:
    return table(
        ("endpoint", "capability", "answers", "what it does"),
        (
            (
                code(f"{method} {route.path}"),
                _capability(route),
                ", ".join(_statuses(route)),
                _first_line(route.description),
            )
            for router in ROUTERS
            for route in router.routes
            if isinstance(route, APIRoute) and route.include_in_schema
            for method in sorted(route.methods)
        ),
    )


def problem_codes() -> str:
    rows = [
        (
            code(one.code),
            str(one.status),
            "yes" if one.retryable else "no",
            str(int(BY_STATUS[one.status])),
            _meaning(one),
        )
        for one in errors.ALL
    ]
    return table(("code", "status", "retried", "CLI exit code", "what it means"), rows)


def capabilities() -> str:
    rows = [
        (code(one), "yes" if one in OPERATOR else "", "yes" if one in APPROVER else "", _needed_by(one))
        for one in CAPABILITIES
    ]
    return table(("capability", "operator", "approver", "needed by"), rows)


def commands() -> str:
    return "\n\n".join(_commands(get_command(cli), "somagent"))


def exit_codes() -> str:
    return table(("code", "name", "meaning"), ((str(int(one)), one.name, MEANINGS[one]) for one in MEANINGS))


def event_types() -> str:
    return table(("type", "what happened"), ((code(name), meaning) for name, meaning in events.TYPES.items()))


def topics() -> str:
    return ", ".join(code(topic) for topic in get_args(events.Topic))


def capsule_fields() -> str:
    return table(("field", "type", "default", "what it is"), _fields(Capsule.model_json_schema(), ""))


def constitution_clauses() -> str:
    """Return the shipped constitution: features, articles, approval rules, guarantees."""
    shipped = parse(Library.load().constitution)
    features = table(
        ("feature φ", "weight w", "value"),
        ((f.name, f"{f.weight:.2f}", code(_one_line(f.value))) for f in shipped.score.features),
    )
    articles = table(
        ("article", "denied where", "because"), ((a.id, code(a.forbid), a.because) for a in shipped.articles)
    )
    rules = table(
        ("approval rule", "asked where", "of whom", "expires", "because"),
        ((r.id, code(r.ask_when), code(r.capability), f"{r.expires // 3600} h", r.because) for r in shipped.approvals),
    )
    head = f"θ = {shipped.score.threshold:.2f}, `ask_from` = {shipped.score.ask_from:.2f}."
    guarantees = table(("guarantee", "what is to be proved"), ((g.id, code(_property(g))) for g in shipped.guarantees))
    return f"{head}\n\n{features}\n\n{articles}\n\n{rules}\n\n{guarantees}"


def attributes() -> str:
    """Return every attribute that an expression may look at."""
    return table(
        ("attribute", "type, in order", "ordinary", "a caller can change it"),
        (
            (
                code(path),
                f"{_kind(attribute)}{', may be absent' if attribute.optional else ''}",
                "" if attribute.ordinary is None else code(_ordinary(attribute)),
                "yes" if attribute.changeable else "",
            )
            for path, attribute in ACTION_SCHEMA.attributes.items()
        ),
    )


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "routes": routes,
    "problem-codes": problem_codes,
    "capabilities": capabilities,
    "commands": commands,
    "exit-codes": exit_codes,
    "event-types": event_types,
    "topics": topics,
    "capsule-fields": capsule_fields,
    "constitution-clauses": constitution_clauses,
    "attributes": attributes,
}


def _kind(attribute: Attribute) -> str:
    if isinstance(attribute.type, Choice):
        return ", ".join(map(code, attribute.type.values))
    return f"{attribute.type}, 0.0 to 1.0" if isinstance(attribute.type, Fixed) else str(attribute.type)


def _ordinary(attribute: Attribute) -> str:
    value = attribute.ordinary
    return format_value(value / PPM if isinstance(attribute.type, Fixed) else value).strip("'")


def _property(guarantee: Guarantee) -> str:
    return (
        f"never {guarantee.never}" if guarantee.never else f"raising {guarantee.raising} never {guarantee.never_flips}"
    )


def _default(value: object) -> str:
    return "" if value is None or value is PydanticUndefined or value in ((), {}) else code(value)


def _first_line(text: str) -> str:
    return _one_line(text.partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _capability(route: APIRoute) -> str:
    inside = next((who for prefix, who in OTHERWISE.items() if route.path.startswith(prefix)), None)
    if inside:
        return inside
    held = [call.capability for call in _calls(route.dependant) if isinstance(call, RequireCapability)]
    if held:
        return ", ".join(code(one) for one in held)
    return "any token" if any(_name(call) == "_caller" for call in _calls(route.dependant)) else "none"


def _calls(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)


def _name(call: object) -> str:
    return getattr(call, "__name__", "")


def _statuses(route: APIRoute) -> list[str]:
    success = str(route.status_code or int(HTTPStatus.OK))
    return sorted({success, *(str(status) for status in route.responses)} - ANYWHERE)


def _needed_by(capability: str) -> str:
    needing = [
        code(f"{method} {route.path}")
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and any(getattr(c, "capability", None) == capability for c in _calls(route.dependant))
        for method in sorted(route.methods)
    ]
    return ", ".join(needing)


def _meaning(error: type[errors.SomaError]) -> str:
    """Return the class's sentence, or the line that the drawing of all errors gives it."""
    if error.__doc__ and error.__doc__ != error.__base__.__doc__:
        return _first_line(inspect.cleandoc(error.__doc__))
    drawn = re.search(rf"^ +{error.__name__} +(.+?)(?:  +\d.*)?$", errors.__doc__ or "", re.MULTILINE)
    if drawn is None:
        raise LookupError(f"{error.__name__} has neither a docstring nor a line in capsules/errors.py")
    sentence = drawn[1].strip()
    return f"{sentence[0].upper()}{sentence[1:]}."


# Typer carries click's classes with it, so they are told by what they have and not by what they are.
def _commands(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join((path, *(_placeholder(p) for p in arguments)))
    text = _one_line(command.help or "")
    described = "\n".join(f"- {code(_placeholder(p))}: {p.help}" for p in arguments if p.help)
    rows = [(", ".join(code(o) for o in p.opts), _option_default(p), _one_line(p.help or "")) for p in options]
    parts = (f"### `{usage}`", text, described, table(("option", "default", "what it does"), rows) if rows else "")
    yield "\n\n".join(part for part in parts if part)


def _placeholder(argument: Any) -> str:  # noqa: ANN401
    name = (argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _option_default(option: Any) -> str:  # noqa: ANN401
    if option.is_flag or option.default is None or option.default in ("", 0, 0.0) or callable(option.default):
        return ""
    return code(option.default)


def _fields(
    schema: dict[str, Any], prefix: str, known: dict[str, Any] | None = None
) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each field of a JSON Schema, then those inside it."""
    known = known or schema.get("$defs", {})
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        inner, each = _inside(field, known)
        default = "**required**" if name in required else _json_default(field)
        yield code(f"{prefix}{name}"), _type(field, known), default, field.get("description", "")
        if inner is not None:
            yield from _fields(inner, f"{prefix}{name}{'[]' if each else ''}.", known)


def _inside(field: dict[str, Any], known: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Return the object that a field, or each item of it, is."""
    for way in (field, *field.get("anyOf", ())):
        if "$ref" in way:
            return known[way["$ref"].rpartition("/")[2]], False
        if "$ref" in way.get("items", {}):
            return known[way["items"]["$ref"].rpartition("/")[2]], True
    return None, False


def _type(field: dict[str, Any], known: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(code(value) for value in field["enum"])
    if "const" in field:
        return code(field["const"])
    if "anyOf" in field:
        return " or ".join(_type(way, known) for way in field["anyOf"] if way.get("type") != "null")
    if "$ref" in field:
        return "object"
    if field.get("type") == "array":
        return f"list of {_type(field['items'], known)}s"
    bounds = [
        f"{word} {field[key]:,}"
        for key, word in (("minimum", "≥"), ("maximum", "≤"))
        if key in field and field[key] < 2**53 - 1
    ]
    return " ".join((field.get("type", "any"), *bounds))


def _json_default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return (
        ""
        if value in (None, "", [], {}) or isinstance(value, dict)
        else code(str(value).lower() if isinstance(value, bool) else value)
    )
