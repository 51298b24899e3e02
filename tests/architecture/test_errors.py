"""Every error of ours has one meaning everywhere: an HTTP status, a Temporal failure, an exit code, a place in the list."""

import ast
import inspect
from http import HTTPStatus

import pytest
from sources import PACKAGES, dotted, parsed
from temporalio.exceptions import ApplicationErrorCategory

from api.problems import EXAMPLES, respond_to, responses
from capsules import errors
from capsules.errors import ALL, ApprovalRequired, BudgetExhausted, Denied, SomaError
from policy.failures import failure
from somagent.cli.codes import BY_STATUS, MEANINGS, Code

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
    failed = failure(error("What happened, and what to do.", run="acme/hello/k1"))
    assert failed.type == error.code
    assert failed.message == "What happened, and what to do."
    assert failed.details[0] == {"code": error.code, "run": "acme/hello/k1"}
    assert failed.non_retryable is not error.retryable
    # An answer of the gate is not a fault, and nothing else may look harmless.
    answer = issubclass(error, Denied | ApprovalRequired | BudgetExhausted)
    assert (failed.category is ApplicationErrorCategory.BENIGN) is answer


@pytest.mark.parametrize("error", ALL, ids=lambda one: one.__name__)
def test_an_error_is_an_exit_code_with_a_meaning(error):
    assert BY_STATUS[error.status] in MEANINGS


def test_every_exit_code_has_a_meaning():
    assert set(MEANINGS) == set(Code)
    assert all(MEANINGS.values())


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
