"""What every file keeps to: one subject and at most 400 lines, and no imitation of anything in a test."""

import ast

import pytest
from sources import PACKAGES, ROOT, at, dotted, parsed, python_files

LONGEST = 400
OURS = (*PACKAGES, "deploy", "tests")

# Ways to put something else in the place of what is tested. pytest's `monkeypatch` has no use but that.
IMITATIONS = (
    "unittest.mock",
    "mock",
    "pytest_mock",
    "responses",
    "respx",
    "pytest_httpx",
    "requests_mock",
    "httpretty",
    "vcr",
    "fakeredis",
    "moto",
    "freezegun",
    "time_machine",
)


def test_no_file_is_longer_than_it_should_be():
    lengths = {str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in python_files(*OURS)}
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}


def test_every_module_says_its_one_idea_first():
    silent = [str(file) for file, tree in parsed(*PACKAGES, "deploy") if not ast.get_docstring(tree)]
    assert silent == []


def test_nothing_is_imitated():
    found = [f"{at(file, node)} {what}" for file, tree in parsed(*OURS) for node, what in _imitations(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "from unittest.mock import patch",
        "import unittest.mock",
        "from unittest import mock",
        "import fakeredis.aioredis",
        "def test_it(monkeypatch): monkeypatch.setattr(os, 'x', 1)",
        "def test_it(mocker): ...",
        "async def test_it(*, monkeypatch): ...",
    ],
)
def test_an_imitation_would_be_noticed(code):
    assert list(_imitations(ast.parse(code)))


def test_nothing_waits_in_the_code_for_later():
    # A test that is skipped or a branch that is not written reports success without it.
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in python_files(*PACKAGES, "deploy")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if any(f"# {word}" in line for word in ("TODO", "FIXME", "XXX", "HACK"))
    ]
    assert found == []


def _imitations(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [a.arg for a in arguments if a.arg in {"monkeypatch", "mocker", "httpx_mock"}]
                yield from ((node, name) for name in names)
                continue
            case ast.Attribute() if dotted(node).endswith("monkeypatch.setattr"):
                yield node, dotted(node)
                continue
            case _:
                continue
        for name in names:
            if any(name == one or name.startswith(f"{one}.") for one in IMITATIONS):
                yield node, name
