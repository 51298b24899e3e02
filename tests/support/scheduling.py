"""Scheduler of the whole suite: files that share a started stack run on one worker, and what takes longest starts first.

A fixture of the session is made once in each worker. Spread over two workers, every stack would start twice.
"""

import pytest
from xdist.scheduler import LoadFileScheduling

STACKS = {
    "platform": ("tests/system/runs", "tests/system/cli", "tests/system/policy", "tests/system/attacks"),
    "fault_stack": ("tests/system/faults", "tests/system/chaos"),
    "stack": ("tests/integration/constitutions",),
}
"""The fixture of each shared stack, and the folders of the tests that use it."""
FOLDERS = ("tests/system", "tests/integration/constitutions", "tests/integration", "tests/unit")
"""In this order files start: a short file at the end leaves the other worker idle for a short time only."""


class StackScheduling(LoadFileScheduling):
    """Hands out whole files, and those that share a stack together, in the order of `sort_by_folder`."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_stack(nodeid) or super()._split_scope(nodeid)


def shared_stack(nodeid: str) -> str | None:
    """Return the fixture of the stack that the tests of this folder share, or None."""
    return next((name for name, folders in STACKS.items() if nodeid.startswith(tuple(f"{f}/" for f in folders))), None)


def stop_shared_stack(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the stack that this test's folder shares, if the next test of this process does not use it.

    A session's fixture would stay to the end, and an idle stack takes a tenth of a core from the tests after it.
    """
    name = shared_stack(item.nodeid)
    if name is None or nextitem is None or shared_stack(nextitem.nodeid) == name:
        return
    for fixture in item.session._fixturemanager.getfixturedefs(name, item) or ():
        fixture.finish(item._request)  # type: ignore[attr-defined]


def sort_by_folder(items: list[pytest.Item]) -> None:
    """Sort tests by the place of their folder in `FOLDERS`; within a folder their order stays.

    Raises UsageError for a test that uses a shared stack from another folder: it would start the stack once more.
    """
    items.sort(key=lambda item: next((n for n, f in enumerate(FOLDERS) if item.nodeid.startswith(f)), len(FOLDERS)))
    for item in items:
        used = {"platform", "fault_stack"} & set(getattr(item, "fixturenames", ()))
        for name in used - {shared_stack(item.nodeid)}:
            raise pytest.UsageError(f"{item.nodeid} uses {name}: move it to one of {', '.join(STACKS[name])}.")
