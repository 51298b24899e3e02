"""Tenants by the owner's tool: a test drive once, an allowance, tokens that the tenant's own people can use."""

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from client_cli import CommandResult, somagent
from ledger_messages import next_number
from sources import ROOT

from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.runs.run import NewRun
from somagent.db.database import open_database
from somagent.identity.api_keys import parse_key
from somagent.identity.keys import KeyRing
from somagent.settings import Settings


def tool(settings: Settings, *arguments: str) -> CommandResult:
    """Run the tool as its owner would."""
    return somagent(*arguments, settings=settings, module="workers.tenants", cwd=ROOT)


@pytest.fixture
def installed(postgres_settings: Settings, owner: object) -> Settings:
    KeyRing.create_missing(postgres_settings.keys_dir)
    return postgres_settings


def test_a_new_tenant_has_a_test_drive_and_people(installed: Settings) -> None:
    name = f"acme-{next_number()}"
    made = tool(installed, "add", name, "--credit-tokens", "700")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert (told["account"]["limit"]["tokens"], told["account"]["credit"]["tokens"]) == (700, 700)
    assert {subject: parse_key(key).tenant for subject, key in told["tokens"].items()} == {
        "operator": name,
        "approver": name,
    }

    again = json.loads(tool(installed, "add", name, "--credit-tokens", "900").out)
    assert (again["account"], again["tokens"]) == (told["account"], {}), "done twice, it changes nothing"
    rotated = json.loads(tool(installed, "rotate", name).out)["tokens"]
    assert rotated.keys() == told["tokens"].keys()
    states = asyncio.run(key_states(installed, name))
    assert states == {
        **{parse_key(key).id: "revoked" for key in told["tokens"].values()},
        **{parse_key(key).id: "active" for key in rotated.values()},
    }
    allowed = json.loads(tool(installed, "allow", name, "--tokens", "1000", "--calls-per-minute", "9").out)
    assert (allowed["limit"]["tokens"], allowed["terms"]["rate"]["calls"]) == (1700, 9)
    for _ in range(2):
        credited = json.loads(tool(installed, "credit", name, "outage", "--tokens", "50").out)
        assert credited["limit"]["tokens"] == 1750
    assert name in tool(installed, "list").out.split()


def test_usage_is_told_of_every_tenant(installed: Settings, tmp_path: Path) -> None:
    names = [f"usage-{next_number()}" for _ in range(2)]
    for name in names:
        assert tool(installed, "add", name).code == 0
        asyncio.run(add_run(installed, name))
    told = json.loads(tool(installed, "usage", "--by", "capsule").out)
    mine = [(one["tenant"], one["capsule"], one["runs"]) for one in told if one["tenant"] in names]
    assert mine == [(name, "hello", 1) for name in sorted(names)]
    done = tool(installed, "usage", "--csv", str(tmp_path / "all.csv"))
    assert done.code == 0, done.err
    rows = csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text()))
    assert set(names) <= {row["tenant"] for row in rows}
    assert json.loads(tool(installed, "usage", "--since", "2020-01-01", "--until", "2020-01-02").out) == []
    backwards = tool(installed, "usage", "--since", "2026-02-01", "--until", "2026-01-01")
    assert (backwards.code, "has no days" in backwards.err) == (1, True)
    assert "--by takes" in tool(installed, "usage", "--by", "colour").err


async def key_states(settings: Settings, tenant: str) -> dict[str, str]:
    async with open_database(settings.database("app"), connections=1) as db, db.transaction(tenant) as tx:
        return {key.id: key.state for key in (await tx.api_keys.page()).items}


async def add_run(settings: Settings, tenant: str) -> None:
    run = f"{tenant}/hello/1"
    async with open_database(settings.database("app"), connections=1) as db, db.transaction(tenant) as tx:
        await tx.runs.accept(
            NewRun(id=run, capsule="hello@1.0.0", digest=digest({}), actor="operator", request=digest(run))
        )
        await tx.accounts.carve(f"tenant:{tenant}", f"run:{run}", Amounts(tokens=5))
        await tx.runs.admit(run, digest=digest({}), parent=None, account=f"run:{run}", lock={})


def test_what_is_wrong_is_said(installed: Settings) -> None:
    assert tool(installed, "add", "Not A Name").code == 2
    unknown = tool(installed, "allow", "nobody", "--tokens", "5")
    assert (unknown.code, "There is no tenant 'nobody'" in unknown.err) == (1, True)
    assert "changes nothing" in tool(installed, "credit", "nobody", "key").err
