"""Every error of ours has one meaning everywhere: an HTTP status, a Temporal failure, an exit code, a place in the list."""

import ast
import inspect
from datetime import timedelta
from http import HTTPStatus

import pytest
from sources import PACKAGES, at, dotted, parsed
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory, CancelledError

from api.middleware.problems import EXAMPLES, respond_to, responses
from capsules import errors
from capsules.errors import ALL, ApprovalRequired, BudgetExhausted, Denied, SomaError
from policy.temporal_errors import from_failure, reason_of, to_failure
from somagent.cli.exit_codes import BY_STATUS, Code

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SomaError)]


def test_every_error_is_listed():
    assert set(CLASSES) - {SomaError} == set(ALL)
    assert len({one.code for one in ALL}) == len(ALL), "two errors share a code"


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
def test_an_error_is_a_problem_document(error):
    answer = respond_to(error("What happened, and what to do.", run="acme/hello/k1"))
    assert answer.status_code == error.status
    assert HTTPStatus(error.status).is_client_error or error.retryable
    assert answer.media_type == "application/problem+json"
    assert f'"code":"{error.code}"' in bytes(answer.body).decode()
    assert error.status in EXAMPLES, "no route can declare it"
    assert error.status in responses(error.status)


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
def test_an_error_is_a_temporal_failure(error):
    failed = to_failure(error("What happened, and what to do.", run="acme/hello/k1"))
    assert failed.type == error.code
    assert failed.message == "What happened, and what to do."
    assert failed.details[0] == {"code": error.code, "run": "acme/hello/k1"}
    assert failed.non_retryable is not error.retryable
    # An answer of the gate is not a fault, and nothing else may look harmless.
    answer = issubclass(error, Denied | ApprovalRequired | BudgetExhausted)
    assert (failed.category is ApplicationErrorCategory.BENIGN) is answer


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
async def test_an_error_survives_the_way_through_temporal(error):
    """As a failure of an activity, and as one that a workflow's validator raises without `to_failure`."""
    converter = DataConverter.default
    raised = error("What happened, and what to do.", run="acme/hello/k1", retry_after=2)
    for sent, fields in ((to_failure(raised), raised.fields), (raised, {})):
        failure = Failure()
        await converter.encode_failure(sent, failure)
        back = from_failure(await converter.decode_failure(failure))
        assert type(back) is error
        assert (back.message, back.fields) == (raised.message, fields)


def test_a_failure_that_is_not_ours_is_no_error_of_ours():
    for failure in (
        None,
        ApplicationError("no", type="ValueError"),
        ApplicationError("no", type="RunFailed"),
        ApplicationError("no"),
        CancelledError("stopped"),
        ValueError("no"),
    ):
        assert from_failure(failure) is None
    stranger = from_failure(ApplicationError("no", {"problems": 5}, type="Invalid"))
    assert (type(stranger), stranger.fields) == (errors.Invalid, {})


def test_of_an_activity_or_child_what_made_it_fail_counts():
    wrapper = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="tool.invoke",
        activity_id="1",
        retry_state=None,
    )
    assert (from_failure(wrapper), reason_of(wrapper)) == (None, "Activity task failed")
    wrapper.__cause__ = to_failure(errors.PolicyDenied("Nothing is allowed here."))
    assert isinstance(from_failure(wrapper), errors.PolicyDenied)
    assert reason_of(wrapper) == "Nothing is allowed here."


def test_an_answer_that_is_looked_at_again_is_retried():
    again = to_failure(ApprovalRequired("A person decides."), retry_in=timedelta(seconds=2))
    assert (again.non_retryable, again.next_retry_delay) == (False, timedelta(seconds=2))
    assert again.category is ApplicationErrorCategory.BENIGN


def test_failures_are_made_and_read_in_one_place():
    """Elsewhere a failure is an error of ours: nobody else makes one, or knows a code by heart to compare it with."""
    codes = {one.code for one in ALL}
    made, compared = set(), []
    for file, tree in parsed(*PACKAGES):
        for node in ast.walk(tree):
            match node:
                case ast.Call() if dotted(node.func) == "ApplicationError":
                    made.add(str(file))
                case ast.Compare(left=ast.Attribute(attr="type"), comparators=[ast.Constant(value=code)]):
                    compared += [at(file, node)] if code in codes else []
                case ast.MatchValue(value=ast.Constant(value=code)):
                    compared += [f"{file}:{node.lineno}"] if code in codes else []
    # A failed run's own report travels in its failure.
    assert made == {"policy/temporal_errors.py", "workflows/run.py"}
    assert compared == []


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
def test_an_error_is_an_exit_code_with_a_meaning(error):
    assert BY_STATUS[error.status].meaning


def test_every_exit_code_has_a_meaning():
    assert all(code.meaning for code in Code)


def test_every_error_of_ours_descends_from_one():
    """An exception class elsewhere is either a SomaError with the status of its parent, or stays inside its module."""
    known = {one.__name__ for one in CLASSES}
    strangers = []
    for file, tree in parsed(*PACKAGES):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(dotted(b) in known for b in node.bases):
                own = {
                    t.id for a in node.body if isinstance(a, ast.Assign) for t in a.targets if isinstance(t, ast.Name)
                }
                if "status" in own and str(file) != "capsules/errors.py":
                    strangers.append(f"{file}:{node.lineno} {node.name}")
    assert strangers == []


def test_nothing_is_swallowed():
    """`except Exception: pass` hides what happened; whoever catches everything must tell or raise it."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in parsed(*PACKAGES, "deploy")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or dotted(node.type) in {"Exception", "BaseException"})
        and all(isinstance(statement, ast.Pass | ast.Continue) or _is_constant(statement) for statement in node.body)
    ]
    assert found == []


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
