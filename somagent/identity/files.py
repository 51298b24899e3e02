"""Files that hold secrets: written once with mode 0600 in a directory of mode 0700, refused when anybody else may read.

A key that another user could read is no key, so lax permissions stop the process instead of being repaired silently.
"""

import os
import tempfile
from pathlib import Path

from capsules.errors import Denied

OTHERS = 0o077


class UnsafeKeyFile(Denied):
    """A key file or its directory can be read or written by others, or belongs to somebody else."""


def require_private(path: Path) -> None:
    """Raise UnsafeKeyFile unless only its owner, who is us or root, may touch `path`."""
    status = path.stat()
    if status.st_uid not in {os.geteuid(), 0}:
        raise UnsafeKeyFile(f"{str(path)!r} belongs to user {status.st_uid}; it must belong to user {os.geteuid()}.")
    if status.st_mode & OTHERS:
        wanted = "0700" if path.is_dir() else "0600"
        raise UnsafeKeyFile(
            f"{str(path)!r} has mode {status.st_mode & 0o777:04o}, so others may use it. Run: chmod {wanted} {path}"
        )


def private_directory(path: Path) -> None:
    """Make the directory when it is missing; refuse it when others may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_private(path)


def read_private(path: Path) -> bytes:
    """Return the content of a key file that nobody else may touch."""
    require_private(path)
    return path.read_bytes()


def write_once(path: Path, content: bytes) -> bool:
    """Write a new key file and say whether this call wrote it; an existing one stays as it is.

    The content appears under its name whole or not at all, so that a second process never reads half a key.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp gives mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True
