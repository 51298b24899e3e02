"""A shadow judges beside the active constitution, decides nothing, hurts nobody, and is counted."""

import asyncio

from constitution_changes import NAP, ConstitutionChanges
from platforms import Platform

NO_NAPS = {"id": "no-naps", "forbid": "action.target == 'python@1.0.0/run'", "because": "Nobody naps here."}


async def test_a_shadow_is_counted_with_its_first_difference_and_changes_no_decision(
    changes: ConstitutionChanges, tenant
) -> None:
    document = await changes.next()
    document["articles"] = [*document["articles"], NO_NAPS]
    proposed = await tenant.changes.propose(document, stage="shadow")
    done = await tenant.changes.until(proposed)
    assert (done["state"], done["reason"], done["approved_by"]) == ("activated", "shadow", []), done["why"]
    run = await tenant.stack.run(await tenant.stack.publish(NAP), {})
    assert run["status"] == "completed", run["reason"]
    decided = [r["body"] for r in await tenant.stack.receipts(run["id"]) if r["kind"] == "decision"]
    shadows = {body["action"]["kind"]: body["shadow"] for body in decided}
    assert shadows["tool.invoke"]["decision"] == "deny"
    assert shadows["tool.invoke"]["constitution"] == proposed["constitution"]
    assert shadows["artifact.publish"]["decision"] == "allow"
    report = (await tenant.stack.operator.get("/v1/constitutions/shadow")).json()
    assert (report["constitution"], report["scope"]) == (proposed["constitution"], tenant.name)
    assert (report["judged"], report["differing"], report["failed"]) == (len(decided), 2, 0)
    first = report["counts"][0]
    assert (first["before"], first["after"], first["count"], first["run"]) == ("allow", "deny", 2, run["id"])
    assert first["action"]["target"] == "python@1.0.0/run"
    ended = await tenant.stack.operator.delete("/v1/constitutions/shadow")
    assert ended.status_code == 204, ended.text
    assert (await tenant.stack.operator.get("/v1/constitutions/shadow")).json()["constitution"] is None


async def test_a_shadow_that_fails_hurts_no_run_and_is_counted_as_failed(changes: ConstitutionChanges, tenant) -> None:
    proposed = await tenant.changes.propose(await changes.next(), stage="shadow")
    assert (await tenant.changes.until(proposed))["state"] == "activated"
    revoked = await tenant.stack.operator.post(
        f"/v1/constitutions/{proposed['constitution']}/revoke", json={"reason": "A test."}
    )
    assert (revoked.status_code, revoked.json()["active_for"]) == (200, []), revoked.text
    await asyncio.sleep(1.1)
    run = await tenant.stack.run(await tenant.stack.publish(NAP), {})
    assert run["status"] == "completed", run["reason"]
    report = (await tenant.stack.operator.get("/v1/constitutions/shadow")).json()
    assert report["failed"] == report["judged"] > 0


async def test_a_shadow_needs_signatures_and_proofs_too(stack: Platform, changes: ConstitutionChanges, tenant) -> None:
    unsigned = await tenant.changes.propose(await changes.next(), stage="shadow", signatures=[])
    assert "It is unsigned" in (await tenant.changes.until(unsigned))["why"]
    broken = await changes.next()
    broken["articles"] = [a for a in broken["articles"] if a["id"] != "no-secret-egress"]
    assert "secrets-stay" in (await tenant.changes.until(await tenant.changes.propose(broken, stage="shadow")))["why"]
