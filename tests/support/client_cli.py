"""The CLI as a user runs it: a process of its own, with settings from the environment alone."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somagent.local_stack.environment import ours
from somagent.settings import Settings


@dataclass(frozen=True)
class Ended:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def somagent(*arguments: str, settings: Settings, stdin: str = "", cwd: Path | None = None, **more: str) -> Ended:
    """Run one command to its end."""
    environment = {**os.environ, **ours(settings), "COLUMNS": "200", **more}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "somagent.cli", *arguments],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        timeout=200,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
