"""Scopes: everybody's constitution, a tenant's own that may only narrow it, a canary, and its promotion."""

from typing import Any

from constitution_changes import NAP, ConstitutionChanges
from platforms import Platform

from policy.prove.overlay import apply_overlays

NO_NAPS = {
    "apiVersion": "somagent/v1",
    "kind": "Overlay",
    "metadata": {"name": "no-naps", "version": "1.0.0"},
    "base": "default",
    "articles": [{"id": "no-naps", "forbid": "action.target == 'python@1.0.0/run'", "because": "Nobody naps here."}],
}
NO_WRITES = {
    "id": "no-open-writes",
    "forbid": "action.effect == 'write' && action.egress == 'open'",
    "because": "Nothing is written to anywhere.",
}


async def active_for_all(stack: Platform) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.operator.get("/v1/constitution")).json()
    return found


async def test_an_overlay_that_narrows_is_active_for_its_tenant_alone(
    stack: Platform, changes: ConstitutionChanges, tenant
) -> None:
    base = await active_for_all(stack)
    effective = apply_overlays(base["document"], [NO_NAPS])
    proposed = await tenant.changes.propose(overlays=[NO_NAPS], signatures=changes.signed(effective))
    waiting = await tenant.changes.until(proposed, "awaiting_approval")
    assert waiting["state"] == "awaiting_approval", waiting["why"]
    assert (waiting["scope"], waiting["narrower"]["outcome"]) == (tenant.name, "proved")
    await tenant.changes.approved(proposed)
    assert await tenant.changes.active() == proposed["constitution"] != base["digest"]
    assert await changes.active() == base["digest"]
    run = await tenant.stack.run(await tenant.stack.publish(NAP), {})
    assert run["status"] == "failed"
    assert "Nobody naps here." in run["reason"]
    back = await tenant.changes.approved(await tenant.changes.ask("/rollback", {}))
    assert back["constitution"] is None


async def test_a_tenants_own_that_widens_is_refused_with_the_action_that_shows_it(
    changes: ConstitutionChanges, tenant
) -> None:
    wider = await changes.next()
    wider["approvals"] = [rule for rule in wider["approvals"] if rule["id"] != "irreversible-write-outside"]
    refused = await tenant.changes.until(await tenant.changes.propose(wider))
    assert refused["state"] == "refused"
    assert refused["narrower"]["outcome"] == "refuted"
    before, after = (witness["verdict"]["decision"] for witness in refused["narrower"]["witnesses"])
    assert (before, after) == ("ask", "allow")


async def test_a_tenant_changes_only_what_is_its_own(stack: Platform, changes: ConstitutionChanges, tenant) -> None:
    document = await changes.next()
    problem = await tenant.changes.propose(document, scope="*", status=403)
    assert "change their own constitution only" in problem["detail"]
    await tenant.changes.ask("/promote", {"scope": "acme"}, status=403)
    active = await changes.active()
    revoked = await tenant.stack.operator.post(f"/v1/constitutions/{active}/revoke", json={})
    assert revoked.status_code == 403, revoked.text
    # What one tenant proposed, another does not see.
    kept = await changes.propose(document, scope=tenant.name)
    await changes.until(kept, "awaiting_approval")
    assert (await tenant.stack.operator.get(f"/v1/constitutions/activations/{kept['id']}")).status_code == 404
    assert (await tenant.stack.operator.get(f"/v1/constitutions/{kept['constitution']}")).status_code == 404
    await tenant.changes.ask("/rollback", {"to": kept["constitution"]}, status=404)
    await changes.answer(kept, "reject")


async def test_a_canary_is_tried_on_one_tenant_and_promoted_to_all(
    stack: Platform, changes: ConstitutionChanges, tenant
) -> None:
    before = await changes.active()
    document = await changes.next()
    document["articles"] = [*document["articles"], NO_WRITES]
    canary = await changes.activate(document, scope=tenant.name)
    assert (canary["reason"], canary["scope"]) == ("canary", tenant.name)
    assert await tenant.changes.active() == canary["constitution"]
    assert await changes.active() == before
    done = await changes.approved(await changes.ask("/promote", {"scope": tenant.name}))
    assert done["reason"] == "promote"
    assert await changes.active() == await tenant.changes.active() == canary["constitution"]
    history = (await stack.operator.get("/v1/constitutions")).json()["history"]
    assert [(h["scope"], h["constitution"]) for h in history[:2]] == [
        (tenant.name, None),
        ("*", canary["constitution"]),
    ]
    back = await changes.approved(await changes.ask("/rollback", {}))
    assert back["constitution"] == before


async def test_everybodys_is_not_narrowed_past_what_a_tenant_has_of_its_own(
    stack: Platform, changes: ConstitutionChanges, tenant
) -> None:
    base = await active_for_all(stack)
    effective = apply_overlays(base["document"], [NO_NAPS])
    await tenant.changes.approved(
        await tenant.changes.propose(overlays=[NO_NAPS], signatures=changes.signed(effective))
    )
    stricter = await changes.next()
    stricter["articles"] = [*stricter["articles"], NO_WRITES | {"id": "no-writes-at-all"}]
    refused = await changes.until(await changes.propose(stricter))
    assert refused["state"] == "refused"
    assert f"Tenant '{tenant.name}' has default@" in refused["why"]
    # The platform gives the tenant the overlay on the new one first; then everybody can have it.
    both = apply_overlays(stricter, [NO_NAPS])
    await changes.activate(both, scope=tenant.name)
    again = await changes.next(articles=stricter["articles"])
    done = await changes.activate(again)
    assert await changes.active() == done["constitution"]
    await changes.approved(await changes.ask("/rollback", {}))
    await changes.approved(await changes.ask("/rollback", {"scope": tenant.name, "to": None}))
