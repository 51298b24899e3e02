"""Values of attributes as a person reads them, the way CEL writes them."""


def plain(value: object) -> str:
    """Return a value's text."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
