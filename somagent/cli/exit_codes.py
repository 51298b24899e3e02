"""Exit codes of the CLI, with their meanings. The help and the documentation print them."""

from enum import IntEnum, unique
from typing import Self


@unique
class Code(IntEnum):
    """Exit code of a command, for scripts, and its meaning."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_, code.meaning = value, meaning
        return code

    OK = 0, "Done; a run that was watched completed."
    RUN_FAILED = 1, "The run failed or was cancelled, or something failed that has no code of its own."
    USAGE = 2, "The command line is wrong."
    DENIED = 3, "No valid token, or the token may not do this. (`somagent status`: the stack is not running.)"
    NOT_FOUND = 4, "There is no such run, capsule, approval or schedule."
    INVALID = 5, "The file or the inputs are wrong; every problem is listed."
    BUDGET = 6, "An account cannot cover it."
    WAITING = 7, "With --no-wait: the run waits for a person or for budget."
    UNAVAILABLE = 8, "The API, or a part behind it, cannot be reached now; trying later may help."
    CONFLICT = 9, "It exists, ended or changed already."
    REFUTED = 10, "A property of a constitution is refuted, or not proved in time; what contradicts it is shown."
    UNSOUND = 11, "A check of the audit record or of the ledger failed; the first bad item is named."
    INTERRUPTED = 130, "Ctrl-C. A run that was watched continues."


BY_STATUS: dict[int, Code] = {
    **dict.fromkeys((400, 413, 422), Code.INVALID),
    **dict.fromkeys((401, 403), Code.DENIED),
    402: Code.BUDGET,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    **dict.fromkeys((429, 503), Code.UNAVAILABLE),
}
"""Exit code by the HTTP status of a problem document. Other statuses mean RUN_FAILED."""
