"""The CLI and the owner's tool as a person runs them: a process of its own, with settings from the environment alone.

The process is forked from a server that has imported what they need: a fresh interpreter takes a second of imports.
"""

import json
import multiprocessing
import os
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from somagent.local_stack.environment import product_environment
from somagent.settings import Settings

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["somagent.cli.main", "somagent.local_stack.tenants", __name__])
STREAMS = ("in", "out", "err")
SECONDS = 200


@dataclass(frozen=True)
class CommandResult:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def somagent(
    *arguments: str,
    settings: Settings,
    stdin: str = "",
    cwd: Path | None = None,
    module: str = "somagent.cli",
    **more: str,
) -> CommandResult:
    """Run one command of a module to its end; `more` are variables of its environment."""
    environment = {**os.environ, **product_environment(settings), "COLUMNS": "200", **more}
    with TemporaryDirectory(prefix="somagent-cli-") as directory:
        streams = [Path(directory) / name for name in STREAMS]
        streams[0].write_text(stdin, "utf-8")
        process = FORKS.Process(target=_main, args=(module, arguments, environment, cwd or Path.cwd(), streams))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"somagent {' '.join(arguments)} did not end within {SECONDS} s")
        return CommandResult(process.exitcode, *(stream.read_text("utf-8", "replace") for stream in streams[1:]))


def _main(module: str, arguments: tuple[str, ...], environment: dict[str, str], cwd: Path, streams: list[Path]) -> None:
    """Become `python -m` this module, in the forked process."""
    for number, (stream, flags) in enumerate(zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
        os.dup2(os.open(stream, flags, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", closefd=False) for number, mode in enumerate(("r", "w", "w"))
    )
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["somagent", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
