"""Environment of a child process: our own parts get every setting, other servers only what they need.

A module of its own, because it is the only one here that may read this process's environment.
"""

import json
import os
from pathlib import Path

from pydantic import SecretStr

from somagent.settings import Settings

PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "TMPDIR")


def product_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of our own processes: this one's, with every setting spelled out for the child."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SOMAGENT_")}
    return inherited | {f"SOMAGENT_{name.upper()}": _text(value) for name, value in settings if value is not None}


def server_environment(**extra: str) -> dict[str, str]:
    """Return the environment of other servers: a few variables, none of our settings or of the caller's secrets."""
    return {name: os.environ[name] for name in PASSED if name in os.environ} | extra


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value.absolute())
        case dict() | tuple():
            return json.dumps(value)  # what pydantic-settings reads a collection from
        case _:
            return str(value)
