"""Errors of the local stack. Each message says how to solve the problem.

StackError
  MissingProgram  a program, package or permission is not there
  PortTaken       another process listens where a part wants to
  PartFailed      a part ended or did not answer in time
  StackBusy       another supervisor holds this home
"""

from pathlib import Path

LOG_TAIL_BYTES = 2000


class StackError(Exception):
    """Base of the errors of the local stack."""


class MissingProgram(StackError):
    """A program, package or permission is not there."""


class PortTaken(StackError):
    """Another process listens where a part wants to."""


class StackBusy(StackError):
    """Another supervisor holds this home."""


class NotReady(Exception):
    """A part does not answer yet. The message says what the health check saw."""


class PartFailed(StackError):
    """A part ended or did not answer in time."""

    def __init__(self, part: str, reason: str, log: Path) -> None:
        super().__init__(f"{part} {reason}. Its log {str(log)!r} ends with:\n{tail(log)}")
        self.part = part
        self.reason = reason


def tail(log: Path) -> str:
    """Return the last lines of a log file, indented."""
    if not log.exists():
        return "(empty)"
    text = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-12:]) or "  (empty)"
