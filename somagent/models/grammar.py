"""Answer schemas for llama.cpp: rewrites a JSON Schema into a bounded one that its grammar supports.

llama.cpp turns a schema into a grammar. It refuses boolean schemas, ignores keywords that it does not know (`not`,
`if`, `multipleOf`), and uses memory without limit for contradictory bounds (`minItems` above `maxItems`), so these are
refused here. Small models repeat themselves, so texts, lists and free values without a bound get one. The result can be
narrower than the schema (by these bounds) or wider (where a grammar cannot express it). Afterwards the reply is
validated against the original schema.
"""

import re

from capsules.capsule import JsonSchema
from capsules.errors import EffectFailed

# A text or list without a bound gets DEFAULT_…; a schema may ask for up to MAX_….
DEFAULT_TEXT = 2_000  # characters
MAX_TEXT = 16_384
DEFAULT_ITEMS = 32
MAX_ITEMS = 1_000
FREE_TEXT = 120  # bounds in a value of any type
FREE_ITEMS = 8
MAX_NODES = 2_000
EXACT = 2**53  # largest bound that JSON numbers express exactly
FORMATS = frozenset({"date", "time", "date-time", "uuid"})

SCALAR: JsonSchema = {
    "anyOf": [
        {"type": "string", "maxLength": FREE_TEXT},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
    ]
}
FREE: JsonSchema = {
    "anyOf": [
        *SCALAR["anyOf"],
        {"type": "array", "items": SCALAR, "maxItems": FREE_ITEMS},
        {"type": "object", "additionalProperties": SCALAR},
    ]
}
"""Any value, at most one level deep: without this bound a small model nests until its tokens are used up."""

KEYWORDS = (
    ("object", ("properties", "required", "additionalProperties", "patternProperties", "minProperties")),
    ("array", ("items", "prefixItems", "minItems", "maxItems")),
    ("string", ("minLength", "maxLength", "pattern", "format")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)
MAX_REPEATS = 1_000
CLASSES = {r"\d": "[0-9]", r"\w": "[A-Za-z0-9_]", r"\.": "[.]", r"\-": "-", r"\/": "/"}
# Patterns that could leave the JSON string: any character, negated classes, escapes, quotes.
UNSAFE = re.compile(r"""[\\"]|\(\?|\[\^|\$.|.\^(?!\])""", re.DOTALL)


def grammar_schema(schema: JsonSchema) -> JsonSchema:
    """Return the bounded schema. Raises EffectFailed with the place for a schema that no value satisfies."""
    return _Rewriter().document(schema)


class _Rewriter:
    """Rewrites one schema and counts its nodes, so that a huge schema cannot exhaust the server."""

    def __init__(self) -> None:
        self._nodes = 0

    def document(self, schema: JsonSchema) -> JsonSchema:
        result = self._node(schema, "#")
        for key in ("$defs", "definitions"):
            if isinstance(schema.get(key), dict):
                result[key] = {name: self._node(value, f"#/{key}/{name}") for name, value in schema[key].items()}
        return result

    def _node(self, schema: object, at: str) -> JsonSchema:  # noqa: PLR0911 - one return a kind of schema
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise EffectFailed(f"The answer's schema has more than {MAX_NODES} parts. Make it smaller.", at=at)
        if schema is True or schema == {}:
            return FREE
        if not isinstance(schema, dict):
            raise _contradiction(at, f"{schema!r} admits no value")
        if "$ref" in schema:
            return _reference(schema["$ref"], at)
        if "const" in schema:
            return {"const": schema["const"]}
        if "enum" in schema:
            return _enumeration(schema["enum"], at)
        if "allOf" in schema:
            return self._node(_merge_all_of(schema, at), at)
        for key in ("anyOf", "oneOf"):
            # Beside properties or a type the alternatives only narrow: the grammar keeps the shape and drops them.
            if key in schema and not _type_of(schema):
                return {"anyOf": [self._node(s, f"{at}/{key}/{n}") for n, s in enumerate(schema[key])]}
        return self._typed(schema, at)

    def _typed(self, schema: JsonSchema, at: str) -> JsonSchema:  # noqa: PLR0911 - one return a type
        kind = _type_of(schema)
        if isinstance(kind, list):
            return {"anyOf": [self._node(schema | {"type": one}, at) for one in kind]}
        match kind:
            case "object":
                return self._object(schema, at)
            case "array":
                return self._array(schema, at)
            case "string":
                return _text(schema, at)
            case "integer" | "number":
                return _number(schema, str(kind), at)
            case "boolean" | "null":
                return {"type": kind}
            case None:
                return FREE
        raise _contradiction(at, f"the type {kind!r} is not one of JSON Schema's")

    def _object(self, schema: JsonSchema, at: str) -> JsonSchema:
        given: JsonSchema = schema.get("properties", {})
        # A property without a possible value is left out.
        properties = {n: self._node(s, f"{at}/properties/{n}") for n, s in given.items() if s is not False}
        required = [name for name in schema.get("required", []) if isinstance(name, str)]
        if barred := [name for name in required if given.get(name) is False]:
            raise _contradiction(at, f"{barred[0]!r} is required and admits no value")
        properties |= {name: FREE for name in required if name not in properties}
        if properties:
            return {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": False,
            }
        others = schema.get("additionalProperties", next(iter(schema.get("patternProperties", {}).values()), True))
        if others is False:
            return {"const": {}}
        values = SCALAR if others is True else self._node(others, f"{at}/additionalProperties")
        return {"type": "object", "additionalProperties": values}

    def _array(self, schema: JsonSchema, at: str) -> JsonSchema:
        if schema.get("prefixItems"):
            return {
                "type": "array",
                "prefixItems": [self._node(s, f"{at}/prefixItems/{n}") for n, s in enumerate(schema["prefixItems"])],
            }
        least, most = _bounds(schema, ("minItems", "maxItems"), (DEFAULT_ITEMS, MAX_ITEMS), at)
        items = schema.get("items", True)
        if items is False or most == 0:
            return {"const": []}
        inner = SCALAR if items in (True, {}) else self._node(items, f"{at}/items")
        return {"type": "array", "items": inner, "minItems": least, "maxItems": most}


def _type_of(schema: JsonSchema) -> object:
    """Return the type of a schema, from `type` or from its keywords; None when it has neither."""
    if "type" in schema:
        return schema["type"]
    if "anyOf" in schema or "oneOf" in schema:
        return "object" if "properties" in schema else None
    return next((kind for kind, keywords in KEYWORDS if any(keyword in schema for keyword in keywords)), None)


def _reference(target: object, at: str) -> JsonSchema:
    if not isinstance(target, str) or not target.startswith("#/"):
        raise EffectFailed(
            f"The answer's schema refers to {target!r} at {at}. Only parts below `#/$defs` can be referred to.", at=at
        )
    return {"$ref": target}


def _enumeration(values: object, at: str) -> JsonSchema:
    if not isinstance(values, list) or not values:
        raise _contradiction(at, "`enum` lists no value")
    return {"enum": values}


def _merge_all_of(schema: JsonSchema, at: str) -> JsonSchema:
    """Merge `allOf` and the keywords beside it into one schema."""
    joined: JsonSchema = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        if not isinstance(part, dict):
            raise _contradiction(f"{at}/allOf", f"{part!r} admits no value")
        whole = _merge_all_of(part, at) if "allOf" in part else part
        lists = {"required": [*joined.get("required", []), *whole.get("required", [])]}
        shapes = {"properties": {**joined.get("properties", {}), **whole.get("properties", {})}}
        joined = joined | whole | {key: value for key, value in (lists | shapes).items() if value}
    return joined


def _text(schema: JsonSchema, at: str) -> JsonSchema:
    if schema.get("format") in FORMATS:
        return {"type": "string", "format": schema["format"]}
    least, most = _bounds(schema, ("minLength", "maxLength"), (DEFAULT_TEXT, MAX_TEXT), at)
    # The grammar takes a pattern or a length, not both; the pattern says more.
    if pattern := grammar_pattern(schema.get("pattern")):
        return {"type": "string", "pattern": pattern}
    return {"type": "string", "minLength": least, "maxLength": most}


def _bounds(schema: JsonSchema, keys: tuple[str, str], caps: tuple[int, int], at: str) -> tuple[int, int]:
    default, ceiling = caps
    least = int(schema.get(keys[0], 0))
    most = int(schema.get(keys[1], max(default, least)))
    if least > most:
        raise _contradiction(at, f"{keys[0]!r} is {least} and {keys[1]!r} is {most}")
    if least > ceiling:
        raise EffectFailed(f"The answer's schema wants {least} at {at} ({keys[0]}); at most {ceiling} can be.", at=at)
    return least, min(most, ceiling)


def _number(schema: JsonSchema, kind: str, at: str) -> JsonSchema:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and low > high:
        raise _contradiction(at, f"`minimum` is {low} and `maximum` is {high}")
    if kind == "number":
        return {"type": "number"}
    lows = [-(-low // 1)] if low is not None else []
    lows += [schema["exclusiveMinimum"] // 1 + 1] if "exclusiveMinimum" in schema else []
    highs = [high // 1] if high is not None else []
    highs += [-(-schema["exclusiveMaximum"] // 1) - 1] if "exclusiveMaximum" in schema else []
    bounds = {"minimum": max(lows, default=None), "maximum": min(highs, default=None)}
    if lows and highs and max(lows) > min(highs):
        raise _contradiction(at, f"no whole number lies between {max(lows)} and {min(highs)}")
    return {"type": "integer"} | {k: int(v) for k, v in bounds.items() if v is not None and abs(v) <= EXACT}


def _contradiction(at: str, why: str) -> EffectFailed:
    return EffectFailed(f"The answer's schema cannot be satisfied at {at}: {why}. Correct the schema.", at=at)


def grammar_pattern(pattern: object) -> str | None:
    """Return a pattern that the grammar supports, or None when only validation can check it."""
    if not isinstance(pattern, str) or not (pattern.startswith("^") and pattern.endswith("$")):
        return None
    plain = _translate_escapes(pattern)
    if UNSAFE.search(plain) or "." in re.sub(r"\[[^\]]*\]", "", plain) or not plain.isascii():
        return None
    try:
        re.compile(plain)
    except re.error:  # contradictory counts such as {5,3} among them
        return None
    counts = [int(count) for count in re.findall(r"\d+", " ".join(re.findall(r"\{([\d,]+)\}", plain)))]
    return plain if all(count <= MAX_REPEATS for count in counts) else None


def _translate_escapes(pattern: str) -> str:
    """Replace escapes by classes, outside of classes; an escape inside one stays and is refused."""
    outside = re.split(r"(\[[^\]]*\])", pattern)
    return "".join(
        part if part.startswith("[") else re.sub(r"\\.", lambda found: CLASSES.get(found[0], found[0]), part)
        for part in outside
    )
