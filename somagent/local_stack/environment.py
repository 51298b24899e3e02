"""Environment of a child process: processes of the product get every setting, other servers only what they need.

This is the only module of the package that may read the environment of its own process.
"""

import json
import os
from pathlib import Path

from pydantic import SecretStr

from somagent.settings import Settings

PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "TMPDIR")


def product_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a process of the product: that of this process, and every setting as a variable."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SOMAGENT_")}
    return inherited | {f"SOMAGENT_{name.upper()}": _text(value) for name, value in settings if value is not None}


def server_environment(**extra: str) -> dict[str, str]:
    """Return the environment for another server: a few variables and `extra`, no settings and no secrets."""
    return {name: os.environ[name] for name in PASSED if name in os.environ} | extra


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value.absolute())
        case dict() | tuple():
            return json.dumps(value)  # the format in which pydantic-settings reads collections
        case _:
            return str(value)
