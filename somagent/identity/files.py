"""Private files: written once with mode 0600 in a directory of mode 0700, and refused when other users can access them.

Wrong permissions stop the process. They are not repaired, because the secret may have been read already.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from capsules.errors import Denied

OTHERS = 0o077


class UnsafeKeyFile(Denied):
    """A key file or its directory can be read or written by others, or belongs to somebody else."""


def require_private(path: Path) -> None:
    """Raise UnsafeKeyFile unless `path` belongs to this user or root, and others have no permission."""
    status = path.stat()
    if status.st_uid not in {os.geteuid(), 0}:
        raise UnsafeKeyFile(f"{str(path)!r} belongs to user {status.st_uid}; it must belong to user {os.geteuid()}.")
    if status.st_mode & OTHERS:
        wanted = "0700" if path.is_dir() else "0600"
        raise UnsafeKeyFile(
            f"{str(path)!r} has mode {status.st_mode & 0o777:04o}, so others may use it. Run: chmod {wanted} {path}"
        )


def ensure_private_directory(path: Path) -> None:
    """Create a directory if it is missing. Raises UnsafeKeyFile when other users may access it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_private(path)


def read_private(path: Path) -> bytes:
    """Return the content of a private file. Raises UnsafeKeyFile."""
    require_private(path)
    return path.read_bytes()


def write_private_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a private file by a JSON document, atomically: no process reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp gives mode 0600
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)


def write_once(path: Path, content: bytes) -> bool:
    """Write a new private file atomically; return False and change nothing when it exists.

    The file appears under its name with all its content, so no process reads half a key.
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
