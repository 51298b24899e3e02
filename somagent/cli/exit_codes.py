"""Exit codes of the CLI: one table, which the documentation prints."""

from enum import IntEnum


class Code(IntEnum):
    """What happened, for scripts."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    INVALID = 5
    BUDGET = 6
    WAITING = 7
    UNAVAILABLE = 8
    CONFLICT = 9
    REFUTED = 10
    UNSOUND = 11
    INTERRUPTED = 130


MEANINGS: dict[Code, str] = {
    Code.OK: "Done; a run that was watched completed.",
    Code.RUN_FAILED: "The run failed or was cancelled, or something failed that has no code of its own.",
    Code.USAGE: "The command line is wrong.",
    Code.DENIED: "No valid token, or the token may not do this. (`somagent status`: the stack is not running.)",
    Code.NOT_FOUND: "There is no such run, capsule, approval or schedule.",
    Code.INVALID: "The file or the inputs are wrong; every problem is listed.",
    Code.BUDGET: "An account cannot cover it.",
    Code.WAITING: "With --no-wait: the run waits for a person or for budget.",
    Code.UNAVAILABLE: "The API, or a part behind it, cannot be reached now; trying later may help.",
    Code.CONFLICT: "It exists, ended or changed already.",
    Code.REFUTED: "A property of a constitution is refuted, or not proved in time; what contradicts it is shown.",
    Code.UNSOUND: "The audit found something that does not hold; the first bad item is named.",
    Code.INTERRUPTED: "Ctrl-C. A run that was watched continues.",
}

BY_STATUS: dict[int, Code] = {
    400: Code.INVALID,
    401: Code.DENIED,
    402: Code.BUDGET,
    403: Code.DENIED,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    413: Code.INVALID,
    422: Code.INVALID,
    429: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
}
"""HTTP status of a problem document to exit code; what is not here is RUN_FAILED."""
