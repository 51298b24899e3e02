"""Hooks of every test run: lanes, profiles of property tests, and the order in which tests start."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as property_settings
from lanes import forbid_servers, mark
from properties import GATE_EXAMPLES
from scheduling import StackScheduling, sort_by_folder, stop_shared_stack

UNIT = Path(__file__).parent / "unit"

property_settings.register_profile("gate", derandomize=True, print_blob=True, max_examples=GATE_EXAMPLES)
property_settings.register_profile("random", print_blob=True, max_examples=500)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that are marked `long`")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile of property tests, for random ones a seed that the header shows, and load server fixtures."""
    options = config.option
    options.hypothesis_profile = options.hypothesis_profile or "gate"
    if options.hypothesis_profile == "random" and options.hypothesis_seed is None:
        options.hypothesis_seed = str(secrets.randbelow(2**32))
    # Unit tests use no server, and importing the clients of all servers takes as long as a tenth of them.
    paths = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    if not all(path.is_relative_to(UNIT) for path in paths):
        config.pluginmanager.import_plugin("server_fixtures")


def pytest_report_header(config: pytest.Config) -> str:
    profile, seed = config.option.hypothesis_profile, config.option.hypothesis_seed
    fixed = "the digest of each test, the same in every run"
    return f"property tests: profile {profile}, seed {seed or fixed} (--hypothesis-profile, --hypothesis-seed)"


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function):
        mark(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.long:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    sort_by_folder(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> StackScheduling | None:
    """Schedule by stacks where whole files are asked for (`--dist loadfile`)."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # else files with more tests come first, and slow ones have few
    return StackScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    stop_shared_stack(item, nextitem)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.items and not any(item.get_closest_marker("server") for item in session.items):
        forbid_servers()
