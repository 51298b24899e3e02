"""Demonstration (`make demo`): run three shipped capsules on the local stack, and print where to look next."""

import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.rule import Rule

from somagent.settings import Settings

CAPSULES = ("meeting-summary", "log-triage", "weekly-report")
SOMAGENT = Path(sys.executable).parent / "somagent"


def run(capsule: str) -> int:
    """Run one capsule with its example inputs and return the exit code."""
    return subprocess.run([SOMAGENT, "run", capsule, "--example"], check=False).returncode  # noqa: S603 - our own command


def main() -> int:
    console = Console()
    settings = Settings()
    codes = {}
    for capsule in CAPSULES:
        console.print(Rule(f"[bold]{capsule}"))
        codes[capsule] = run(capsule)
    console.print(Rule("[bold]The stack is up"))
    console.print(f"API          {settings.api_base()}/docs")
    console.print(f"Temporal UI  http://{settings.host}:{settings.temporal_ui_port}")
    console.print("Documents    docs/architecture.md")
    console.print("Stop it with: make down")
    failed = {name: code for name, code in codes.items() if code}
    if failed:
        console.print(f"[red]Failed: {json.dumps(failed)}; see `somagent logs`.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
