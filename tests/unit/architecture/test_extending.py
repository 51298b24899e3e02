"""The recipes of `docs/extending.md` name files that exist, few of them, and their examples are Python."""

import ast
import re
import textwrap

import pytest
from sources import ROOT

TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^## \((\w)\) [^\n]+\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
MOST_FILES = {"a": 6, "b": 6, "c": 9, "d": 9, "e": 6, "f": 6}
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|ya?ml|md|sql|toml|j2))`")


def test_every_subject_has_a_recipe():
    assert RECIPES.keys() == MOST_FILES.keys()


@pytest.mark.parametrize("name", sorted(set(FILE.findall(TEXT))))
def test_a_file_that_a_recipe_names_exists(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("letter", RECIPES)
def test_a_recipe_touches_few_files(letter):
    assert 0 < len(set(FILE.findall(RECIPES[letter]))) <= MOST_FILES[letter]


@pytest.mark.parametrize("letter", RECIPES)
def test_a_recipe_has_an_example_that_is_python(letter):
    examples = re.findall(r"^ *```python\n(.*?)^ *```", RECIPES[letter], re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        compile(textwrap.dedent(example), f"({letter})", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
