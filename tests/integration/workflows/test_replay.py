"""Histories of every released version replay with the code of today, with and without sandbox pass-through."""

import json
import shutil
from pathlib import Path

import pytest
from sources import ROOT
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from somagent.identity.keys import KeyRing
from somagent.temporal.client import PURE_PACKAGES, somagent_plugin
from workflows.authority_interceptor import WORKFLOWS, AuthorityInterceptor

HISTORIES = ROOT / "tests" / "histories"
RECORDED = sorted(HISTORIES.glob("*/*.json"))


UNBOUND = frozenset(json.loads(path.read_text())["workflow_id"] for path in RECORDED if path.parent.name == "0.1.0")
"""Runs of the version before payloads were bound to their workflow."""


def read_history(text: str) -> WorkflowHistory:
    kept = json.loads(text)
    return WorkflowHistory.from_json(kept["workflow_id"], kept["history"])


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """The ring that the histories were recorded with: its codec key is kept beside them."""
    directory = tmp_path_factory.mktemp("keys", numbered=True)
    directory.chmod(0o700)
    shutil.copy(HISTORIES / "codec-1.key", directory / "codec-1.key")
    (directory / "codec-1.key").chmod(0o600)
    return KeyRing.load(directory)


@pytest.mark.parametrize("pass_through", [PURE_PACKAGES, ()], ids=["production", "strict"])
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_recorded_history_replays(recorded: Path, keyring: KeyRing, pass_through: tuple[str, ...]) -> None:
    replayer = Replayer(
        workflows=WORKFLOWS,
        interceptors=[AuthorityInterceptor()],
        plugins=[somagent_plugin(keyring, pass_through=pass_through, unbound=UNBOUND)],
    )
    result = await replayer.replay_workflow(read_history(recorded.read_text()))
    assert result.replay_failure is None


def test_every_kind_of_run_is_recorded() -> None:
    kinds = {"utility", "composite", "approved", "failed", "cancelled", "issue-triage", "autonomous"}
    assert kinds <= {path.stem for path in RECORDED}


async def test_a_changed_history_does_not_replay(keyring: KeyRing) -> None:
    """The replay test can fail: a history whose first activity is another one is refused."""
    recorded = next(path for path in RECORDED if path.stem == "utility")
    changed = recorded.read_text().replace('"name": "capsule.start"', '"name": "capsule.begin"')
    assert changed != recorded.read_text()
    plugin = somagent_plugin(keyring, unbound=UNBOUND)
    replayer = Replayer(workflows=WORKFLOWS, interceptors=[AuthorityInterceptor()], plugins=[plugin])
    result = await replayer.replay_workflow(read_history(changed), raise_on_replay_failure=False)
    assert result.replay_failure is not None


async def test_an_old_history_is_not_read_without_the_cut_over(keyring: KeyRing) -> None:
    """Its payloads are not bound to its run: only runs that were open when binding began may have such ones."""
    recorded = next(path for path in RECORDED if path.stem == "utility")
    replayer = Replayer(workflows=WORKFLOWS, interceptors=[AuthorityInterceptor()], plugins=[somagent_plugin(keyring)])
    result = await replayer.replay_workflow(read_history(recorded.read_text()), raise_on_replay_failure=False)
    assert result.replay_failure is not None
