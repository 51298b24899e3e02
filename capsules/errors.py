"""Errors: every error that crosses a boundary of the platform.

    SomaError
      Invalid             the request or file is wrong                422, terminal
        TamperedContent   bytes do not match their digest             422, terminal
      Unauthenticated     no valid token                              401, terminal
      Denied              the rules say no                            403, terminal
        PolicyDenied      the constitution says no
        AuthorityRefused  the authority is missing, forged, expired or too narrow
        ConstitutionRefused  unsigned, altered, unknown or revoked
      UngovernedActivity  no gate stands before the activity          403, terminal
      ApprovalRequired    a person must say yes first                 409, waits
      BudgetExhausted     an account cannot cover the action          402, waits or ends
      NotFound            no such thing for this tenant               404, terminal
      Conflict            the thing exists or changed meanwhile       409, terminal
      TooLarge            a size limit is passed                      413, terminal
      RateLimited         too many requests                           429, retried
      Unavailable         a part cannot be reached                    503, retried
      EffectFailed        the effect rejected its input               422, terminal

`code` is the stable name used in problem documents, Temporal failures, receipts and logs.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

type DocumentPath = tuple[str | int, ...]
"""The keys and indexes from the top of a document to a value."""


def path_text(path: DocumentPath) -> str:
    """Return a path as text, such as `spec.steps[0].use`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class SomaError(Exception):
    """Base of all our errors: a sentence for people and `fields` for machines."""

    code: ClassVar[str] = "SomaError"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **fields: Any) -> None:  # noqa: ANN401 - JSON values of any kind
        super().__init__(message)
        self.message = message
        self.fields = fields


class Invalid(SomaError):
    """The request, file or value is wrong; `problems` lists every error at once."""

    code = "Invalid"
    status = 422

    def __init__(self, message: str, /, *, problems: Sequence["dict[str, Any]"] = (), **fields: Any) -> None:  # noqa: ANN401
        super().__init__(message, **({"problems": list(problems)} if problems else {}), **fields)


class TamperedContent(Invalid):
    """Stored bytes do not match the digest they are stored under."""

    code = "TamperedContent"


class Unauthenticated(SomaError):
    code = "Unauthenticated"
    status = 401


class Denied(SomaError):
    code = "Denied"
    status = 403


class PolicyDenied(Denied):
    """The constitution does not allow this action. Retrying the same action cannot help."""

    code = "PolicyDenied"


class AuthorityRefused(Denied):
    """The authority is missing, forged, expired, or does not cover this action."""

    code = "AuthorityRefused"


class ConstitutionRefused(Denied):
    """The constitution is unsigned, altered, unknown or revoked; nothing runs under it."""

    code = "ConstitutionRefused"


class UngovernedActivity(SomaError):
    """An activity is neither governed nor on the platform's list: a configuration error, since no gate is before it."""

    code = "UngovernedActivity"
    status = 403


class ApprovalRequired(SomaError):
    """A person must approve exactly this action first."""

    code = "ApprovalRequired"
    status = 409


class BudgetExhausted(SomaError):
    """An account cannot cover the upper bound of this action."""

    code = "BudgetExhausted"
    status = 402


class NotFound(SomaError):
    code = "NotFound"
    status = 404


class Conflict(SomaError):
    code = "Conflict"
    status = 409


class TooLarge(SomaError):
    code = "TooLarge"
    status = 413


class RateLimited(SomaError):
    code = "RateLimited"
    status = 429
    retryable = True


class Unavailable(SomaError):
    """A part of the platform cannot be reached now; a retry may succeed."""

    code = "Unavailable"
    status = 503
    retryable = True


class EffectFailed(SomaError):
    """The effect ran and failed in a way that the same input will repeat (bad arguments, a rejected request)."""

    code = "EffectFailed"
    status = 422


ALL = tuple(e for e in globals().values() if isinstance(e, type) and issubclass(e, SomaError) and e is not SomaError)
