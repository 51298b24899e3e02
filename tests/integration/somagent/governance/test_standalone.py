"""`somagent.governance` in the process of an application with modules of its own, in a fresh interpreter each time."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from sources import ROOT, modules

from somagent import governance as exports

OWN = ("activities", "api", "sandbox", "workers", "workflows")
EVERYTHING = f"""
from somagent.governance import *
import importlib, sys
for name in {[name for name in modules() if name.startswith("somagent.governance")]}:
    importlib.import_module(name)
print(sorted(name for name in sys.modules if name.partition(".")[0] in {OWN}))
import activities, api, sandbox, workers, workflows
print([module.__file__ for module in (activities, api, sandbox, workers, workflows)])
"""
LIGHT = """
import sys
from somagent.governance import Amounts, Application, Terms, execute_with_approval, governed, report_usage, requested_approval
print(sorted({"asyncpg", "sqlalchemy", "structlog", "z3"} & sys.modules.keys()))
"""


def run(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that lies in the application's directory, which is then the first on the import path."""
    (directory / "program.py").write_text(program)
    command = [sys.executable, "program.py"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_an_application_may_have_modules_of_our_other_packages_names(tmp_path):
    for name in OWN:
        (tmp_path / f"{name}.py").touch()
    found = run(tmp_path, EVERYTHING)
    assert found.stdout.splitlines() == ["[]", str([str(tmp_path / f"{name}.py") for name in OWN])], found.stderr


def test_the_names_for_workflow_files_do_not_load_the_plugin(tmp_path):
    found = run(tmp_path, LIGHT)
    assert found.stdout == "[]\n", found.stderr


@pytest.mark.parametrize("before", ["", "import {name}; "], ids=["not imported", "imported"])
@pytest.mark.parametrize("file", ["policy.py", "capsules.py", "policy/__init__.py", "capsules/__init__.py"])
def test_a_module_that_shadows_ours_is_named_in_one_sentence(tmp_path, file, before):
    own = tmp_path / file
    own.parent.mkdir(exist_ok=True)
    own.touch()
    name = file.partition("/")[0].removesuffix(".py")
    found = run(tmp_path, before.format(name=name) + "from somagent.governance import governance")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == (
        f"ImportError: The governance plugin needs its own package {name!r}, but Python finds {own} under that name: "
        "rename it, or move it into a package of yours."
    )


def test_a_folder_without_modules_shadows_nothing(tmp_path):
    (tmp_path / "policy").mkdir()
    assert run(tmp_path, "from somagent.governance import governance").returncode == 0


def test_types_and_values_are_imported_from_the_same_modules():
    tree = ast.parse((ROOT / "somagent/governance/__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == exports._MODULES
    assert exports.__all__ == sorted(typed)
    with pytest.raises(ImportError, match="cannot import name 'governor'"):
        from somagent.governance import governor  # noqa: F401, PLC0415
