"""Names follow docs/glossary.md: a module is a noun, and a public type has one name in one place."""

import ast
from collections import defaultdict
from pathlib import Path

from sources import PACKAGES, modules, parsed

GERUNDS = {
    "policy.prove.formatting": "the term of the field for turning values into text, in Python's own documentation too",
    "somagent.messaging": "the term of the field for streams and message buses",
}
"""Modules whose last name may end in `ing`, each with the reason why no noun fits."""


def test_no_module_is_named_by_a_gerund():
    named = {name for name in modules() if name.rpartition(".")[2].endswith("ing")}
    assert named == GERUNDS.keys()


def test_a_public_type_name_means_one_thing():
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file, tree in parsed(*PACKAGES):
        for name in _public_types(tree):
            places[name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_type_that_is_defined_twice_would_be_noticed():
    tree = ast.parse(
        "class Shown: ...\nclass _Hidden: ...\ntype Alias = int\nState = Literal['a']\nRow: type = dict\n_Own = int\nLIMIT = 1\n"
    )
    assert list(_public_types(tree)) == ["Shown", "Alias", "State", "Row"]


def test_no_module_is_named_by_a_word_that_says_nothing():
    empty = {"utils", "helpers", "common", "shared", "misc", "base", "manager"}
    assert [str(file) for file, _ in parsed(*PACKAGES) if Path(file).stem in empty] == []


def _public_types(tree: ast.Module):
    """Yield the name of each class and of each alias: a name in CapWords that is assigned at the top of a module."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.TypeAlias(name=ast.Name(id=name)):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
                not name.isupper()
            ):
                pass
            case _:
                continue
        if name[0].isupper():
            yield name
