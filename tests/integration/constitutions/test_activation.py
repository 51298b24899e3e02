"""Load, verify, prove, approve, activate, roll back: over the API, on a started stack, and everything that blocks it."""

import time

from constitution_changes import NAP, ConstitutionChanges
from platforms import Platform

NO_PUBLIC_WRITES = {
    "id": "no-public-writes",
    "forbid": "action.effect == 'write' && action.data == 'public' && action.egress == 'open'",
    "because": "Nothing is published from here.",
}


async def test_the_shipped_constitution_was_proved_and_was_the_first_one_active(
    stack: Platform, changing: ConstitutionChanges
) -> None:
    shown = (await stack.operator.get("/v1/constitutions")).json()
    # Other tests on this stack may have activated more since.
    first = shown["history"][-1]
    assert first["reason"] == "first start"
    assert first["constitution"] == shown["items"][-1]["digest"]
    assert (await stack.operator.get("/v1/constitution")).json()["sha3_512"].startswith("sha3-512:")


async def test_a_signed_and_proved_version_is_active_once_somebody_else_approves(
    stack: Platform, changing: ConstitutionChanges
) -> None:
    before = await changing.active()
    document = await changing.next()
    document["articles"] = [*document["articles"], NO_PUBLIC_WRITES]
    proposed = await changing.propose(document)
    waiting = await changing.until(proposed, "awaiting_approval")
    assert waiting["state"] == "awaiting_approval", waiting["why"]
    assert waiting["missing"] == 1
    assert waiting["against"] == before
    assert {proof["outcome"] for proof in waiting["report"]["proofs"]} == {"proved"}
    changed = {(c["before"], c["after"]) for c in waiting["difference"]["changes"] if c["outcome"] == "found"}
    assert ("allow", "deny") in changed
    assert await changing.active() == before, "nothing changes before the approval"
    own = await stack.operator.post(f"/v1/constitutions/activations/{proposed['id']}/approve", json={})
    assert own.status_code == 403, own.text
    said = await changing.answer(proposed, "approve", comment="Checked the difference.")
    assert said.status_code == 200, said.text
    done = await changing.until(proposed)
    assert (done["state"], done["approved_by"], done["missing"]) == ("activated", ["approver"], 0)
    assert done["comments"] == {"approver": "Checked the difference."}
    assert await changing.active() == proposed["constitution"]


async def test_a_new_run_is_pinned_to_the_new_one_within_a_second_and_a_running_one_keeps_its_own(
    stack: Platform, changing: ConstitutionChanges
) -> None:
    before = await changing.active()
    capsule = await stack.publish(NAP)
    old = await stack.start(capsule, {})
    await stack.until(old, "running")
    proposed = await changing.propose(await changing.next())
    await changing.until(proposed, "awaiting_approval")
    said = await changing.answer(proposed, "approve")
    assert said.status_code == 200, said.text
    await changing.until(proposed)
    began = time.monotonic()
    new = await stack.start(capsule, {})
    pinned = await _pinned(stack, new, before)
    took = time.monotonic() - began
    assert pinned == {proposed["constitution"]}
    assert took < 1, f"{took:.2f} s"
    ended = await stack.until(old)
    assert ended["status"] == "completed", ended["reason"]
    assert {r["body"]["verdict"]["constitution"] for r in await stack.receipts(old) if r["kind"] == "decision"} == {
        before
    }


async def _pinned(stack: Platform, run: str, not_: str) -> set[str]:
    while True:
        decided = [r for r in await stack.receipts(run) if r["kind"] == "decision"]
        if decided:
            return {r["body"]["verdict"]["constitution"] for r in decided}


async def test_an_unsigned_or_wrongly_signed_one_is_refused_and_the_active_one_stays(
    changing: ConstitutionChanges,
) -> None:
    before = await changing.active()
    document = await changing.next()
    unsigned = await changing.until(await changing.propose(document, signatures=[]))
    assert unsigned["state"] == "refused"
    assert "It is unsigned" in unsigned["why"]
    [good] = changing.signed(await changing.next(articles=[]))
    wrong = await changing.until(await changing.propose(document, signatures=[good]))
    assert f"the signature by key '{good['key_id']}' does not hold" in wrong["why"]
    unknown = await changing.until(
        await changing.propose(document, signatures=[{**good, "key_id": "constitution-9-0123456789abcdef"}])
    )
    assert "key 'constitution-9-0123456789abcdef' is not known here" in unknown["why"]
    assert await changing.active() == before


async def test_a_refuted_guarantee_blocks_with_its_counterexample(changing: ConstitutionChanges) -> None:
    before = await changing.active()
    document = await changing.next()
    document["articles"] = [a for a in document["articles"] if a["id"] != "no-secret-egress"]
    blocked = await changing.until(await changing.propose(document))
    assert blocked["state"] == "refused"
    assert "secrets-stay is refuted" in blocked["why"]
    [refuted] = [p for p in blocked["report"]["proofs"] if p["guarantee"] == "secrets-stay"]
    witness = refuted["witnesses"][0]
    assert (witness["action"]["data"], witness["verdict"]["decision"]) == ("secret", "allow")
    assert await changing.active() == before
    late = await changing.answer(blocked, "approve")
    assert late.status_code == 409, late.text


async def test_an_older_version_is_not_replayed_but_rolled_back_to(
    stack: Platform, changing: ConstitutionChanges
) -> None:
    first = (await stack.operator.get("/v1/constitution")).json()
    second_document = await changing.next()
    await changing.activate(second_document)
    replayed = await changing.until(await changing.propose(first["document"]))
    assert replayed["state"] == "refused"
    assert "To have it back, roll back to it" in replayed["why"]
    older = await changing.next()
    older["metadata"]["version"] = "0.9.0"
    assert "is older than" in (await changing.until(await changing.propose(older)))["why"]
    same = await changing.next(articles=[])
    same["metadata"] = second_document["metadata"]
    assert "with another content" in (await changing.until(await changing.propose(same)))["why"]
    done = await changing.approved(await changing.ask("/rollback", {}))
    assert (done["reason"], done["constitution"]) == ("rollback", first["digest"])
    assert await changing.active() == first["digest"]


async def test_a_no_ends_it_and_what_was_approved_against_another_one_is_refused(changing: ConstitutionChanges) -> None:
    before = await changing.active()
    proposed = await changing.propose(await changing.next())
    await changing.until(proposed, "awaiting_approval")
    said = await changing.answer(proposed, "reject", comment="Too early.")
    assert (said.json()["state"], said.json()["why"]) == ("rejected", "Too early.")
    assert await changing.active() == before
    one = await changing.propose(await changing.next())
    other_document = await changing.next()
    other_document["articles"] = [*other_document["articles"], NO_PUBLIC_WRITES | {"id": "no-public-writes-either"}]
    other = await changing.propose(other_document)
    await changing.until(one, "awaiting_approval")
    await changing.until(other, "awaiting_approval")
    await changing.approved(one)
    assert (await changing.answer(other, "approve")).status_code == 200
    late = await changing.until(other)
    assert late["state"] == "refused"
    assert "Meanwhile" in late["why"]


async def test_the_same_key_is_the_same_activation(stack: Platform, changing: ConstitutionChanges) -> None:
    document = await changing.next()
    body = {"document": document, "signatures": changing.signed(document)}
    answers = [
        await stack.operator.post("/v1/constitutions", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].headers["location"] == answers[1].headers["location"] == "/v1/constitutions/activations/once"
    other = {"document": document, "signatures": [], "stage": "shadow"}
    refused = await stack.operator.post("/v1/constitutions", json=other, headers={"Idempotency-Key": "once"})
    assert refused.status_code == 409, refused.text
    await changing.until({"id": "once"}, "awaiting_approval")
    await changing.answer({"id": "once"}, "reject")


async def test_a_document_that_does_not_load_is_refused_with_the_clause(changing: ConstitutionChanges) -> None:
    document = await changing.next()
    document["score"]["features"][0]["weight"] = 0.5
    problem = await changing.propose(document, status=422)
    assert "weights sum to" in problem["detail"]
