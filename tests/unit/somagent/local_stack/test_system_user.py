"""The system user of PostgreSQL reaches a checkout below /root, and can write nothing there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from somagent.local_stack.system_user import unprivileged_user

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")


def as_the_user(directory: Path, question: str) -> int:
    identity = unprivileged_user(directory)
    command = [
        "setpriv",
        *identity.options(),
        "--",
        sys.executable,
        "-c",
        f"import os, sys; sys.exit(not ({question}))",
    ]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_programs_in_a_closed_directory_are_found_by_access(tmp_path: Path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    tmp_path.chmod(0o700)
    # initdb looks for its siblings this way, for which the kernel by default leaves capabilities aside.
    assert as_the_user(tmp_path, f"os.geteuid() != 0 and os.access({str(program)!r}, os.X_OK)") == 0


def test_nothing_of_others_can_be_written(tmp_path: Path):
    tmp_path.chmod(0o700)
    assert as_the_user(tmp_path, f"not os.access({str(tmp_path)!r}, os.W_OK)") == 0
