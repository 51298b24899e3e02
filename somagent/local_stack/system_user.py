"""System user for PostgreSQL, which refuses to run as root, when root starts the stack.

A checkout is often below `/root`, which that user cannot enter. It gets one capability, CAP_DAC_READ_SEARCH, so that it
can read the programs and its data there. It can write only its own files.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from somagent.local_stack.errors import MissingProgram

USER = "somagent"
CAP_DAC_READ_SEARCH = 2  # its bit in the kernel's capability sets


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A system user to run as, and whether it gets CAP_DAC_READ_SEARCH."""

    name: str
    uid: int
    gid: int
    reads_everywhere: bool

    def options(self) -> tuple[str, ...]:
        """Return the arguments of `setpriv` for this user."""
        capabilities = "-all,+dac_read_search" if self.reads_everywhere else "-all"
        return (
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--no-new-privs",
            f"--inh-caps={capabilities}",
            f"--ambient-caps={capabilities}",
            f"--bounding-set={capabilities}",
            # Without this, access(2), which initdb uses, ignores the user's capabilities.
            *(("--securebits=+no_setuid_fixup",) if self.reads_everywhere else ()),
        )


def unprivileged_user(*needs: Path) -> Identity | None:
    """Return the user to run PostgreSQL as, or None when the caller is not root.

    `needs` are the directories that it must be able to enter. Raises MissingProgram when it cannot.
    """
    if os.geteuid() != 0:
        return None
    reads_everywhere = _can_grant_reading()
    closed = [str(path) for path in needs if not _open_to_others(path)]
    if closed and not reads_everywhere:
        raise MissingProgram(
            f"The system user {USER!r} may not enter {', '.join(closed)} and this container holds no "
            "CAP_DAC_READ_SEARCH to give it. Move the checkout to a directory that others may enter, such as /srv."
        )
    entry = _ensure_user()
    return Identity(name=USER, uid=entry.pw_uid, gid=entry.pw_gid, reads_everywhere=reads_everywhere)


def current_user() -> str:
    """Return the name of the user of this process, for PostgreSQL's peer authentication."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _ensure_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise MissingProgram(
            f"PostgreSQL cannot run as root and there is no useradd to make the user {USER!r}: create it."
        )
    command = [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    done = subprocess.run([*command, USER], capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    if done.returncode != 0:
        raise MissingProgram(f"Creating the system user {USER!r} failed: {done.stderr.strip()}.")
    return pwd.getpwnam(USER)


def _can_grant_reading() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> CAP_DAC_READ_SEARCH & 1)
    return False


def _open_to_others(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.exists())
