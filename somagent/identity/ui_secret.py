"""Secret of the local stack's Temporal UI: the part of its codec address that only this stack knows.

Temporal's development server passes no credential to a codec endpoint. So the address itself holds one, made when the
stack starts and deleted when it ends.
"""

import hmac
import secrets
from pathlib import Path

from somagent.identity.files import read_private, write_once

NAME = "temporal-ui.secret"


def new_secret() -> str:
    """Return a random secret."""
    return secrets.token_urlsafe(32)


def keep_secret(home: Path, secret: str) -> None:
    """Write the secret of the stack that starts now, in place of an earlier one."""
    forget_secret(home)
    write_once(home / NAME, secret.encode())


def forget_secret(home: Path) -> None:
    """Delete the secret of a stack that has ended."""
    (home / NAME).unlink(missing_ok=True)


def is_secret(home: Path, given: str) -> bool:
    """Return whether this is the secret of the stack that runs now. Raises UnsafeKeyFile."""
    path = home / NAME
    return path.exists() and hmac.compare_digest(read_private(path), given.encode())
