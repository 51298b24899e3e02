"""Generated parts of the documents, each as Markdown: settings, routes, errors, commands, events, fields, clauses."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, get_args

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
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.main import app as cli
from somagent.identity.capabilities import APPROVER, CAPABILITIES, OPERATOR
from somagent.settings import Settings

# Any endpoint may answer these, so the text above the table says so once.
COMMON_STATUSES = {"401", "403", "413", "422", "429", "503"}


def table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table. A bar inside a cell would end the cell."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '\\|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = _default(field.get_default(call_default_factory=True))
        rows.append((code(f"SOMAGENT_{name.upper()}"), default, field.description or ""))
    return table(("variable", "default", "what it is"), rows)


def routes() -> str:
    return table(
        ("endpoint", "capability", "answers", "what it does"),
        (
            (endpoint, _capability(route), ", ".join(_statuses(route)), _first_line(route.description))
            for endpoint, route in _endpoints()
        ),
    )


def problem_codes() -> str:
    rows = []
    for error in errors.ALL:
        retried = "yes" if error.retryable else "no"
        rows.append((code(error.code), str(error.status), retried, str(int(BY_STATUS[error.status])), _meaning(error)))
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
    return table(("code", "name", "meaning"), ((str(int(one)), one.name, one.meaning) for one in Code))


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
    """Return every attribute that an expression can read."""
    rows = []
    for path, attribute in ACTION_SCHEMA.attributes.items():
        kind = f"{_kind(attribute)}{', may be absent' if attribute.optional else ''}"
        ordinary = "" if attribute.ordinary is None else code(_ordinary(attribute))
        rows.append((code(path), kind, ordinary, "yes" if attribute.changeable else ""))
    return table(("attribute", "type, in order", "ordinary", "a caller can change it"), rows)


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
    if required := _capabilities(route):
        return ", ".join(map(code, required))
    return "any token" if any(getattr(call, "__name__", "") == "_caller" for call in _calls(route)) else "none"


def _endpoints() -> Iterator[tuple[str, APIRoute]]:
    """Yield each documented endpoint, as `METHOD /path`, with its route."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in sorted(route.methods or ()):
                    yield code(f"{method} {route.path}"), route


def _capabilities(route: APIRoute) -> list[str]:
    return [call.capability for call in _calls(route) if isinstance(call, RequireCapability)]


def _calls(route: APIRoute) -> Iterator[Any]:
    """Yield every dependency of a route, nested ones included."""
    waiting = list(route.dependant.dependencies)
    while waiting:
        dependency = waiting.pop(0)
        yield dependency.call
        waiting[:0] = dependency.dependencies


def _statuses(route: APIRoute) -> list[str]:
    success = str(route.status_code or int(HTTPStatus.OK))
    return sorted({success, *(str(status) for status in route.responses)} - COMMON_STATUSES)


def _needed_by(capability: str) -> str:
    return ", ".join(endpoint for endpoint, route in _endpoints() if capability in _capabilities(route))


def _meaning(error: type[errors.SomaError]) -> str:
    """Return the first sentence of the class's docstring, else its line in the error tree of capsules/errors.py."""
    if error.__doc__ and error.__doc__ != error.__base__.__doc__:
        return _first_line(inspect.cleandoc(error.__doc__))
    line = re.search(rf"^ +{error.__name__} +(.+?)(?:  +\d.*)?$", errors.__doc__ or "", re.MULTILINE)
    if line is None:
        raise LookupError(f"{error.__name__} has neither a docstring nor a line in capsules/errors.py")
    sentence = line[1].strip()
    return f"{sentence[0].upper()}{sentence[1:]}."


# Typer ships its own copy of click's classes, so commands and parameters are recognised by their attributes.
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
        inner, is_list = _nested(field, known)
        default = "**required**" if name in required else _json_default(field)
        yield code(f"{prefix}{name}"), _type(field), default, field.get("description", "")
        if inner is not None:
            yield from _fields(inner, f"{prefix}{name}{'[]' if is_list else ''}.", known)


def _nested(field: dict[str, Any], known: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Return the schema of the object in a field, if it has one, and whether the field is a list of such objects."""
    for choice in (field, *field.get("anyOf", ())):
        for schema, is_list in ((choice, False), (choice.get("items", {}), True)):
            if "$ref" in schema:
                return known[schema["$ref"].rpartition("/")[2]], is_list
    return None, False


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(code(value) for value in field["enum"])
    if "const" in field:
        return code(field["const"])
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    if "$ref" in field:
        return "object"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}s"
    bounds = [
        f"{word} {field[key]:,}"
        for key, word in (("minimum", "≥"), ("maximum", "≤"))
        if key in field and field[key] < 2**53 - 1
    ]
    return " ".join((field.get("type", "any"), *bounds))


def _json_default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value in (None, "", []) or isinstance(value, dict):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)
