"""Whose token the CLI sends: SOMAGENT_TOKEN, or that of a principal of the local stack."""

import json

from somagent.cli import output
from somagent.cli.codes import Code
from somagent.settings import Settings

DEFAULT = "operator"


def token_of(settings: Settings, principal: str | None) -> str:
    """Return the token; end the command with a sentence when there is none."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    name = principal or DEFAULT
    path = settings.credentials_file
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        output.fail(
            f"There is no token: SOMAGENT_TOKEN is not set and {str(path)!r} does not exist. "
            "Set it, or start the local stack: somagent up",
            code=Code.DENIED,
        )
    except (OSError, ValueError) as error:
        output.fail(f"The credentials in {str(path)!r} cannot be read: {error}", code=Code.DENIED)
    entry = known.get(name) if isinstance(known, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        names = ", ".join(sorted(known)) if isinstance(known, dict) else "none"
        output.fail(f"There is no principal {name!r} in {str(path)!r}. Known: {names}.", code=Code.DENIED)
    return str(entry["token"])
