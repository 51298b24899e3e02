"""Conversion of our errors to Temporal failures and back.

`to_failure` decides what is retried and what is final. `from_failure` reads a failure in a workflow that called an
activity, and in the API after an Update.
"""

from datetime import timedelta

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    ChildWorkflowError,
    FailureError,
)

from capsules.errors import ALL, ApprovalRequired, BudgetExhausted, Denied, SomaError

# Expected answers of the gate, not failures: logged and counted as benign.
_ANSWERS = (Denied, ApprovalRequired, BudgetExhausted)
_BY_CODE: dict[str | None, type[SomaError]] = {error.code: error for error in ALL}


def to_failure(error: SomaError, *, retry_in: timedelta | None = None) -> ApplicationError:
    """Return the failure of an error: its code as type, its fields as the one detail.

    retry_in: Temporal tries again after this time, also where the error itself is final.
    """
    after = error.fields.get("retry_after")
    return ApplicationError(
        error.message,
        {"code": error.code, **error.fields},
        type=error.code,
        non_retryable=retry_in is None and not error.retryable,
        next_retry_delay=retry_in or (timedelta(seconds=float(after)) if after else None),
        category=ApplicationErrorCategory.BENIGN
        if isinstance(error, _ANSWERS)
        else ApplicationErrorCategory.UNSPECIFIED,
    )


def from_failure(failure: BaseException | None, *, authentic: bool = False) -> SomaError | None:
    """Return the error that a failure carries: the inverse of `to_failure`.

    failure: as caught in a workflow or by a client; of an activity or child workflow, what made it fail counts.
    authentic: only with the details that `to_failure` gives. They are encrypted; type and message are not, so whoever
        reaches Temporal can write them.
    Returns None for a time-out, a cancellation, and an error of a type that is not ours.
    """
    cause = _cause(failure)
    if not isinstance(cause, ApplicationError) or cause.type not in _BY_CODE:
        return None
    fields = dict(cause.details[0]) if cause.details and isinstance(cause.details[0], dict) else {}
    # Another program may use the same type for an error with other details.
    ours = fields.pop("code", None) == cause.type
    if authentic and not ours:
        return None
    return _BY_CODE[cause.type](cause.message, **(fields if ours else {}))


def reason_of(failure: FailureError) -> str:
    """Return in words why an activity or a child workflow failed."""
    cause = _cause(failure)
    return cause.message if isinstance(cause, ApplicationError) else str(cause)


def _cause(failure: BaseException | None) -> BaseException | None:
    return failure.cause or failure if isinstance(failure, ActivityError | ChildWorkflowError) else failure
