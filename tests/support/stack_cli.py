"""The stack's commands as a user runs them: in a process of their own, in a home of their own."""

import subprocess
import sys
from dataclasses import dataclass

import psutil

from somagent.local_stack.environment import product_environment
from somagent.settings import Settings

PROGRAM = "from somagent.cli.stack import app; app()"


@dataclass(frozen=True)
class Cli:
    settings: Settings

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, *arguments],
            check=False,
            env=product_environment(self.settings) | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def processes(self) -> list[psutil.Process]:
        """Return every process that has to do with this home."""
        home = str(self.settings.home)
        return [process for process in psutil.process_iter() if home in _about(process)]


def _about(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return "\0".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""
