"""What is revoked stops: a constitution at the next action of whoever is pinned to it, a key with all it signed."""

from typing import Any

from chaos import kill, query_rows, wait_until_ready
from constitution_changes import NAP, ConstitutionChanges
from platforms import Platform
from servers import eventually

from somagent.identity.keys import KeyRing


async def wait_until_started(stack: Platform, run: str) -> None:
    """Wait until the first nap is under way."""

    async def begun() -> None:
        assert await naps(stack, run) == 1

    await eventually(begun, seconds=30)


async def naps(stack: Platform, run: str) -> int:
    return len(await query_rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run))


async def test_a_run_pinned_to_a_revoked_constitution_stops_at_its_next_action(
    changes: ConstitutionChanges, tenant
) -> None:
    canary = await changes.activate(await changes.next(), scope=tenant.name)
    capsule = await tenant.stack.publish(NAP)
    run = await tenant.stack.start(capsule, {})
    await wait_until_started(tenant.stack, run)
    answer = await changes.stack.operator.post(
        f"/v1/constitutions/{canary['constitution']}/revoke", json={"reason": "It lets too much through."}
    )
    assert answer.json()["active_for"] == [tenant.name], answer.text
    ended = await tenant.stack.until(run)
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("ConstitutionRefused: ")
    assert "revoked" in ended["reason"]
    assert await naps(tenant.stack, run) == 1, "the second nap began under a revoked constitution"
    # Nothing starts either, until the tenant has another one again.
    refused = await tenant.stack.run(capsule, {})
    assert (refused["status"], "revoked" in refused["reason"]) == ("failed", True)
    back = await changes.approved(await changes.ask("/rollback", {"scope": tenant.name}))
    assert back["constitution"] is None
    assert (await tenant.stack.run(capsule, {}))["status"] == "completed"
    told = await query_rows(
        changes.stack.settings,
        "SELECT type, data FROM outbox WHERE topic = 'constitution.updated' ORDER BY id DESC LIMIT 2",
    )
    assert [one["type"] for one in told] == ["constitution.updated", "constitution.revoked"]


async def test_a_revoked_one_is_never_activated_again(changes: ConstitutionChanges, tenant) -> None:
    document: dict[str, Any] = await changes.next()
    canary = await changes.activate(document, scope=tenant.name)
    await changes.stack.operator.post(f"/v1/constitutions/{canary['constitution']}/revoke", json={})
    again = await changes.until(await changes.ask("", {"digest": canary["constitution"]}))
    assert (again["state"], "revoked" in again["why"]) == ("refused", True)


async def test_a_revoked_key_takes_what_it_alone_signed_with_it_without_a_restart(
    stack: Platform, changes: ConstitutionChanges, tenant, tmp_path
) -> None:
    directory = stack.settings.keys_dir
    (tmp_path / "keys").mkdir(mode=0o700)
    KeyRing.create_missing(tmp_path / "keys")
    new, mark = directory / "constitution-2.pem", directory / "constitution-2.revoked"
    new.touch(mode=0o600)
    new.write_bytes((tmp_path / "keys" / "constitution-1.pem").read_bytes())
    try:
        rotated = ConstitutionChanges(stack, KeyRing.load(directory))
        canary = await rotated.activate(await rotated.next(), scope=tenant.name)
        assert [key.startswith("constitution-2-") for key in canary["keys"]] == [True]
        capsule = await tenant.stack.publish(NAP)
        run = await tenant.stack.start(capsule, {})
        await wait_until_started(tenant.stack, run)
        mark.touch(mode=0o600)
        ended = await tenant.stack.until(run)
        assert (ended["status"], await naps(tenant.stack, run)) == ("failed", 1)
        assert f"key '{canary['keys'][0]}' is revoked" in ended["reason"]
        assert KeyRing.load(directory).signer("constitution")[0].startswith("constitution-1-")
    finally:
        new.unlink()
        mark.unlink(missing_ok=True)


async def test_when_everybodys_is_revoked_nothing_runs_and_workers_still_start_to_activate_another(
    stack: Platform, changes: ConstitutionChanges
) -> None:
    before = await changes.active()
    bad = await changes.activate(await changes.next())
    answer = await stack.operator.post(f"/v1/constitutions/{bad['constitution']}/revoke", json={})
    assert answer.json()["active_for"] == ["*"]
    restarts = kill(stack.supervisor, "worker")
    await wait_until_ready(stack.supervisor, "worker", restarts)
    capsule = await stack.publish(NAP)
    refused = await stack.run(capsule, {})
    assert (refused["status"], "revoked" in refused["reason"]) == ("failed", True), refused["reason"]
    done = await changes.approved(await changes.ask("/rollback", {}))
    assert done["constitution"] == before == await changes.active()
    assert (await stack.run(capsule, {}))["status"] == "completed"
