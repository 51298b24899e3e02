"""The names of our packages are ours alone, only settings read the environment. `make check` runs the import contracts."""

import ast
import importlib.metadata
import tomllib
from pathlib import Path

from sources import PACKAGES, ROOT, at, dotted, parsed, python_files


def test_every_package_of_the_project_is_under_contract():
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert sorted(configuration["importlinter"]["root_packages"]) == sorted(PACKAGES)
    assert sorted(configuration["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    on_disk = {init.parent.name for init in ROOT.glob("*/__init__.py")}
    assert on_disk == set(PACKAGES)


def test_no_other_distribution_claims_our_names():
    claims = importlib.metadata.packages_distributions()
    strangers = {name: set(claims.get(name, ())) - {"somagent"} for name in PACKAGES}
    assert {name: who for name, who in strangers.items() if who} == {}


def test_only_settings_read_the_environment():
    # `environment` hands a child process what it inherits; it reads no setting.
    allowed = {
        Path("somagent/settings.py"),
        Path("somagent/local_stack/environment.py"),
    }
    readers = [
        at(file, node)
        for file, tree in parsed(*PACKAGES)
        if file not in allowed
        for node in ast.walk(tree)
        if _reads_environment(node)
    ]
    assert readers == []


def test_package_files_are_only_a_docstring():
    full = [
        str(file)
        for file, tree in parsed(*PACKAGES)
        if file.name == "__init__.py" and not (len(tree.body) == 1 and ast.get_docstring(tree))
    ]
    # What an application of others imports: it names the public API and refuses modules that shadow ours.
    assert full == ["somagent/governance/__init__.py"]


def _reads_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute():
            return dotted(node) in {"os.environ", "os.environb", "os.getenv", "os.putenv"}
        case ast.ImportFrom(module="os"):
            return any(alias.name in {"environ", "environb", "getenv", "putenv"} for alias in node.names)
        case _:
            return False


RESOURCE_FILES = {"__init__.py", "routes.py", "service.py", "schemas.py"}
OTHER_RESOURCE_FILES = {
    "explanations/evidence.py": "the archive of a run: as long as the explanation that it holds",
    "runs/event_stream.py": "a stream that lives as long as its reader, with its own position and heartbeat",
    "runs/preflight.py": "the check of a start, which schedules, forecasts and the dry run use without starting a run",
}


def test_a_resource_is_its_routes_its_service_and_its_schemas():
    resources = ROOT / "api/resources"
    files = {file.relative_to(resources) for file in python_files("api/resources") if file.parent != resources}
    assert {file.parts[0] for file in files} == {folder.parent.name for folder in resources.glob("*/routes.py")}
    assert {str(file) for file in files if file.name not in RESOURCE_FILES} == OTHER_RESOURCE_FILES.keys()
