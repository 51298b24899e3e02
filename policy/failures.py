"""Our errors as Temporal failures: the one table of what is retried, what ends, and what only looks like an error."""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from capsules.errors import ApprovalRequired, BudgetExhausted, Denied, SomaError

# Expected answers of the gate, not faults: logged and counted as benign.
_ANSWERS = (Denied, ApprovalRequired, BudgetExhausted)


def failure(error: SomaError) -> ApplicationError:
    """Return the failure of an error: its code as type, its fields as the one detail."""
    after = error.fields.get("retry_after")
    return ApplicationError(
        error.message,
        {"code": error.code, **error.fields},
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=timedelta(seconds=float(after)) if after else None,
        category=ApplicationErrorCategory.BENIGN
        if isinstance(error, _ANSWERS)
        else ApplicationErrorCategory.UNSPECIFIED,
    )
