"""What a child process gets as its environment: our own parts every setting, servers of others only what they need."""

import json
import os
from pathlib import Path

from pydantic import SecretStr

from somagent.settings import Settings

PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "TMPDIR")


def ours(settings: Settings) -> dict[str, str]:
    """Return this process's environment with every setting spelled out, so that a child reads exactly these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SOMAGENT_")}
    return inherited | {f"SOMAGENT_{name.upper()}": _text(value) for name, value in settings if value is not None}


def theirs(**extra: str) -> dict[str, str]:
    """Return the few variables a server of others needs: none of our settings and none of the caller's secrets."""
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
