"""Every attack in `docs/threat-model.md` names its actor and a mechanism, and links to tests that exist."""

import ast
import re
from typing import NamedTuple

import pytest
from sources import ROOT, python_files, tree_of

PAGE = ROOT / "docs" / "threat-model.md"
HEAD = "| attack | actor | what stops it | test |"
TEST = re.compile(r"\[(?P<name>test_\w+)\]\((?P<path>[^)]+)\)")


class Row(NamedTuple):
    """One attack of the page."""

    attack: str
    actors: str
    mechanism: str
    tests: str


def rows() -> list[Row]:
    """Return the rows of all tables of attacks. A row with another number of cells is an error."""
    tables = PAGE.read_text("utf-8").split(HEAD)[1:]
    lines = [line for table in tables for line in table.split("\n\n")[0].strip().splitlines()[1:]]
    return [Row(*(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])) for line in lines]


ROWS = [pytest.param(row, id=row.attack[:60]) for row in rows()]


def test_the_page_has_attacks_of_every_actor():
    actors = {actor.strip() for row in rows() for actor in row.actors.split(",")}
    assert actors == {"a", "b", "c", "d", "e"}


@pytest.mark.parametrize("row", ROWS)
def test_an_attack_has_a_mechanism_and_tests_that_exist(row: Row):
    assert row.attack.endswith(".")
    assert row.mechanism.endswith(".")
    linked = TEST.findall(row.tests)
    assert linked
    assert TEST.sub("", row.tests).strip(", ") == "", "nothing but links to tests"
    for name, path in linked:
        file = (PAGE.parent / path).resolve()
        assert file.is_relative_to(ROOT / "tests"), path
        assert name in functions_of(file), f"{path} has no {name}"


@pytest.mark.parametrize("file", python_files("tests/system/attacks"), ids=lambda file: file.name)
def test_every_file_of_attacks_has_a_row(file):
    links = {(PAGE.parent / path).resolve() for row in rows() for _, path in TEST.findall(row.tests)}
    assert file.name == "conftest.py" or file in links


def functions_of(file):
    """Return the names of the functions that a file defines at its top."""
    return {node.name for node in tree_of(file).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
