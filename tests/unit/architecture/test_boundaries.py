"""Imports point down, importing starts nothing, and the names of our packages are ours alone.

No mocks: every module is imported in a fresh interpreter. `make check` runs the import contracts.
"""

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from sources import PACKAGES, ROOT, at, dotted, modules, parsed, python_files

# One process for all modules: it imports them one by one and says after which of them something was running.
PROBE = """
import importlib, json, os, sys, threading

def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()

def sockets():
    links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return sorted(link for link in links if "socket:" in link)

def running():
    return {
        "threads": sorted(t.name for t in threading.enumerate() if t is not threading.main_thread()),
        "sockets": sockets(),
        "children": children(),
    }

before, started = running(), {}
environment, directory = dict(os.environ), os.getcwd()
for name in json.load(sys.stdin):
    importlib.import_module(name)
    now = running()
    if now != before:
        started[name] = now
        before = now
started |= {"environment": "changed"} if dict(os.environ) != environment else {}
started |= {"directory": os.getcwd()} if os.getcwd() != directory else {}
print(json.dumps(started))
"""


def test_every_package_of_the_project_is_under_contract():
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert sorted(configuration["importlinter"]["root_packages"]) == sorted(PACKAGES)
    assert sorted(configuration["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    on_disk = {init.parent.name for init in ROOT.glob("*/__init__.py")}
    assert on_disk == set(PACKAGES)


def test_importing_any_module_starts_nothing(tmp_path):
    names = modules()
    assert len(names) > 200
    found = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(names),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {}
    assert list(tmp_path.iterdir()) == [], "importing wrote files"


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
