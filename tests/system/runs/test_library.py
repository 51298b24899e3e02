"""Every shipped capsule runs with its own example, on the real model and the real sandbox."""

from pathlib import Path

import pytest
from platforms import Platform

from capsules.audit.receipt import Receipt, verify_chain
from somagent.capsule_files.library import Library
from somagent.cli.exit_codes import Code

WITH_EXAMPLE = [c for c in Library.load().capsules if c.spec.example is not None]


@pytest.mark.parametrize("capsule", WITH_EXAMPLE, ids=lambda capsule: capsule.metadata.name)
async def test_a_shipped_capsule_runs_its_example(platform: Platform, capsule, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = await platform.run(capsule.ref, capsule.spec.example, seconds=200)
    assert run["status"] == "completed", run["reason"]
    assert run["output"]
    receipts = [Receipt.model_validate(r) for r in await platform.receipts(run["id"])]
    assert verify_chain(receipts) is None
    account = await platform.account(run["id"])
    assert account["reserved"] == {"tokens": 0, "micro_usd": 0, "tool_calls": 0}
    exported = await platform.cli("evidence", "export", run["id"], "-o", tmp_path / "run.zip")
    assert exported.code == Code.OK, exported
    assert (await platform.cli("audit", "keys", "-o", tmp_path / "keys")).code == Code.OK
    checked = await platform.cli("audit", "verify", "--bundle", tmp_path / "run.zip", "--keys", tmp_path / "keys")
    assert checked.code == Code.OK, checked


def test_every_capsule_ships_an_example_that_runs() -> None:
    assert [c.ref for c in Library.load().capsules] == [c.ref for c in WITH_EXAMPLE]
    assert len(WITH_EXAMPLE) >= 5
