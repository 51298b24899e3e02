"""Principals, keys, tokens and tenants by the command line; and its own token, which it renews unseen."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_callers import Callers
from client_cli import CommandResult, somagent
from sources import ROOT

from api.deps import State
from somagent.db.database import Database
from somagent.identity.files import write_private_json
from somagent.settings import Settings

SECOND = 1.0


@dataclass(frozen=True)
class Installation:
    """The API, and a credentials file as `somagent up` writes it."""

    settings: Settings

    async def cli(self, *arguments: str, **more: str) -> CommandResult:
        return await asyncio.to_thread(somagent, *arguments, settings=self.settings, **more)


@pytest.fixture
async def installation(http: httpx.AsyncClient, state: State, api_owner: Database, callers: Callers) -> Installation:
    """The operator of the platform's tenant is signed in."""
    settings = state.settings
    await api_owner.tenants.add(settings.platform_tenant)
    headers = callers.of(settings.platform_tenant).all("operator")
    opened = await http.post("/v1/tokens", json={"refresh": True, "client": "local stack"}, headers=headers)
    own = {name: opened.json()[name] for name in ("token", "expires_at", "refresh_token")}
    write_private_json(settings.credentials_file, {"operator": {"tenant": settings.platform_tenant, **own}})
    return Installation(settings)


async def with_token(installation: Installation, token: str, *arguments: str) -> CommandResult:
    """Run a command with a token or a key instead of the operator's."""
    return await installation.cli(*arguments, SOMAGENT_TOKEN=token)


def entry(installation: Installation) -> dict[str, Any]:
    credentials = json.loads(installation.settings.credentials_file.read_text())
    operator: dict[str, Any] = credentials["operator"]
    return operator


def grow_old(installation: Installation) -> dict[str, Any]:
    """Write the operator's token as one whose time is over, and return the entry."""
    file = installation.settings.credentials_file
    credentials = json.loads(file.read_text())
    credentials["operator"]["expires_at"] = int(time.time()) - 1
    file.write_text(json.dumps(credentials))
    old: dict[str, Any] = credentials["operator"]
    return old


async def test_a_token_is_renewed_unseen_also_by_commands_at_once(installation: Installation) -> None:
    old = grow_old(installation)
    done = await asyncio.gather(*(installation.cli("token", "show", "--json") for _ in range(4)))
    assert [one.code for one in done] == [0, 0, 0, 0], [one.err for one in done]
    assert {one.json["subject"] for one in done} == {"operator"}
    assert "".join(one.err for one in done) == "", "nothing is said about it"
    new = entry(installation)
    assert new["token"] != old["token"]
    assert new["refresh_token"] != old["refresh_token"]
    assert new["expires_at"] > time.time() + 800
    families = (await installation.cli("token", "list", "--of", "operator", "--json")).json
    assert (families[0]["client"], families[0]["generation"]) == ("local stack", 2), "renewed once, under the lock"
    assert oct(Path(installation.settings.credentials_file).stat().st_mode)[-3:] == "600"


async def test_a_principal_is_added_suspended_and_revoked(installation: Installation) -> None:
    made = await installation.cli("principal", "add", "robin", "-c", "run:read", "-c", "capsule:read")
    assert (made.code, made.out.startswith("sg_local_")) == (0, True), made.err
    key = made.out.strip()
    assert (await with_token(installation, key, "runs", "list")).code == 0
    listed = await installation.cli("principal", "list")
    assert "robin" in listed.out
    assert "capsule:read, run:read" in listed.out
    changed = await installation.cli("principal", "set", "robin", "-c", "capsule:read", "--json")
    assert changed.json["capabilities"] == ["capsule:read"]
    suspended = await installation.cli("principal", "suspend", "robin")
    assert (suspended.code, "suspended" in suspended.out) == (0, True)
    await asyncio.sleep(SECOND)
    refused = await with_token(installation, key, "capsule", "list")
    assert (refused.code, "'robin' is suspended" in refused.err) == (3, True), refused.err
    assert (await installation.cli("principal", "resume", "robin")).code == 0
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, key, "capsule", "list")).code == 0
    rotated = (await installation.cli("principal", "rotate", "robin")).out.strip()
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, key, "capsule", "list")).code == 3
    assert (await with_token(installation, rotated, "capsule", "list")).code == 0
    assert (await installation.cli("principal", "revoke", "robin")).code == 0
    assert (await installation.cli("principal", "resume", "robin")).code == 9
    own = await installation.cli("principal", "suspend", "operator")
    assert (own.code, "lock yourself out" in own.err) == (9, True)
    entries = (await installation.cli("audit", "list", "--action", "principal.suspended", "--json")).json
    assert {"robin"} == {one["subject"] for one in entries if one["actor"] == "operator"}


async def test_keys_and_families_are_listed_limited_and_ended(installation: Installation) -> None:
    await installation.cli("principal", "add", "sky", "-c", "run:read", "-c", "capsule:read")
    made = await installation.cli("key", "add", "sky", "-c", "run:read", "--days", "7", "--json")
    key, key_id = made.json["key"], made.json["record"]["id"]
    assert (await with_token(installation, key, "capsule", "list")).code == 3
    opened = (await with_token(installation, key, "token", "mint", "--refresh", "--client", "pipeline", "--json")).json
    listed = await installation.cli("token", "list", "--of", "sky")
    assert "pipeline" in listed.out
    assert opened["family"] in listed.out
    revoked = await installation.cli("token", "revoke", opened["family"])
    assert (revoked.code, "revoked" in revoked.out) == (0, True)
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, opened["token"], "runs", "list")).code == 3
    new = await installation.cli("key", "rotate", key_id, "--json")
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, key, "runs", "list")).code == 3
    assert (await with_token(installation, new.json["key"], "runs", "list")).code == 0
    assert (await installation.cli("key", "revoke", new.json["record"]["id"])).code == 0
    shown = (await installation.cli("key", "list", "--of", "sky", "--json")).json
    states = {one["id"]: one["state"] for one in shown}
    assert (states[key_id], states[new.json["record"]["id"]]) == ("revoked", "revoked")
    table = await installation.cli("key", "list", "--of", "sky")
    assert "run:read" in table.out


async def test_a_tenant_is_suspended_and_let_in_again(installation: Installation) -> None:
    added = await asyncio.to_thread(
        somagent, "add", "nimbus", settings=installation.settings, module="workers.tenants", cwd=ROOT
    )
    key = json.loads(added.out)["tokens"]["operator"]
    assert (await with_token(installation, key, "capsule", "list")).code == 0
    refused = await with_token(installation, key, "tenant", "list")
    assert (refused.code, "'local'" in refused.err) == (3, True), refused.err
    assert (await installation.cli("tenant", "suspend", "nimbus")).code == 0
    await asyncio.sleep(SECOND)
    refused = await with_token(installation, key, "capsule", "list")
    assert (refused.code, "'nimbus' is suspended" in refused.err) == (3, True), refused.err
    listed = (await installation.cli("tenant", "list", "--json")).json
    assert {one["id"]: one["state"] for one in listed}["nimbus"] == "suspended"
    assert (await installation.cli("tenant", "resume", "nimbus")).code == 0
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, key, "capsule", "list")).code == 0
    rotated = await installation.cli("tenant", "rotate", "nimbus")
    assert "2 keys and token families of nimbus are revoked" in rotated.out
    await asyncio.sleep(SECOND)
    assert (await with_token(installation, key, "capsule", "list")).code == 3
