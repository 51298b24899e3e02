"""Lanes of tests, derived from what a test and its fixtures can reach, so that nobody marks a test by hand.

`server`: starts a server process, or listens on a port itself. `docker`: needs a Docker engine. `property`: Hypothesis
draws its examples. A function reaches what its code names, and what the test functions that it names reach.
"""

import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
SERVERS = {
    *("running", "Supervisor", "Cli"),  # parts of the local stack
    *("serving", "receiving", "serve_metrics", "Server", "ThreadingHTTPServer", "create_server", "start_server"),
}
ENGINES = {"platform_in", "from_env", "DockerSandbox", "DockerClient"}
PROGRAMS = {"postgres", "initdb", "valkey-server", "temporal", "llama-server", "docker"}


def mark(item: pytest.Function) -> None:
    """Add the markers of a test's lanes."""
    definitions = item._fixtureinfo.name2fixturedefs
    functions = [item.function, *(definition.func for many in definitions.values() for definition in many)]
    names = frozenset().union(*(reached(inspect.unwrap(function)) for function in functions))
    # Hypothesis wraps the test: the code that was written is inside.
    if (written := getattr(item.function, "hypothesis", None)) is not None:
        item.add_marker(pytest.mark.property)
        names |= reached(written.inner_test)
    if names & SERVERS:
        item.add_marker(pytest.mark.server)
    if names & ENGINES:
        item.add_marker(pytest.mark.docker)


@cache
def reached(function: Callable[..., Any]) -> frozenset[str]:
    """Return every name that a function's code uses, and those that functions of the tests use which it names."""
    found: set[str] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = inspect.unwrap(waiting.pop())
        if one in seen:
            continue
        seen.add(one)
        if inspect.isclass(one):
            waiting += [inner for inner in vars(one).values() if inspect.isfunction(inner)]
        elif (code := getattr(one, "__code__", None)) is not None:
            named = set(_names(code))
            found |= named
            waiting += [value for name in named if _of_tests(value := one.__globals__.get(name))]
    return frozenset(found)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_tests(value: object) -> bool:
    """Return whether a value is a function or class that is written below tests."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return False
    module = sys.modules.get(inspect.unwrap(value).__module__)
    return TESTS in Path(getattr(module, "__file__", None) or "/").parents


def forbid_servers() -> None:
    """Let this process start no server from now on: who tries gets an AssertionError. Cannot be undone."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.bind" and arguments[0].family != socket.AF_UNIX:
            # Only a look whether the port is free: it is closed again at once.
            if sys._getframe(1).f_code.co_name != "is_free":
                raise AssertionError(f"A test without a server listens on {arguments[1]}: see tests/support/lanes.py.")
        elif event == "subprocess.Popen" and Path(str(arguments[0])).name in PROGRAMS:
            raise AssertionError(f"A test without a server starts {arguments[0]}: see tests/support/lanes.py.")

    sys.addaudithook(hook)
