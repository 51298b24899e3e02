"""Importing any module starts nothing: each is imported in a fresh interpreter."""

import json
import subprocess
import sys

from sources import modules

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


WORKER = """
import sys

import workers.main

print([name for name in sys.modules if name.partition(".")[0] in ("openai", "pydantic_ai")])
sys.argv = ["workers.main", "--queues", "tools,toolz"]
workers.main.main()
"""


def test_a_worker_imports_model_libraries_only_where_it_calls_models_and_names_an_unknown_queue(tmp_path):
    found = subprocess.run([sys.executable, "-c", WORKER], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.stdout == "[]\n"
    assert found.returncode == 2
    assert "There is no queue 'toolz'. Known: capsules, slm, memory, tools, platform." in found.stderr
