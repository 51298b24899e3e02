"""Load, verify, prove, approve, activate, roll back: over the API, on a started stack, and everything that blocks it."""

import time

from constitution_changes import NAP, ConstitutionChanges
from platforms import Platform

from capsules.digest import digest, sha3_512
from somagent.capsule_files.library import Library

NO_PUBLIC_WRITES = {
    "id": "no-public-writes",
    "forbid": "action.effect == 'write' && action.data == 'public' && action.egress == 'open'",
    "because": "Nothing is published from here.",
}


async def test_the_shipped_constitution_is_active_after_the_first_start(stack: Platform, first_active: str) -> None:
    shipped = digest(Library.load().constitution)
    assert first_active == shipped
    shown = (await stack.operator.get("/v1/constitutions")).json()
    first = shown["history"][-1]
    assert (first["reason"], first["scope"], first["stage"]) == ("first start", "*", "active")
    assert first["constitution"] == shown["items"][-1]["digest"] == shipped


async def test_the_active_constitution_is_the_newest_activation_for_everybody(stack: Platform) -> None:
    history = (await stack.operator.get("/v1/constitutions")).json()["history"]
    newest = next(line for line in history if (line["scope"], line["stage"]) == ("*", "active"))
    active = (await stack.operator.get("/v1/constitution")).json()
    assert active["digest"] == newest["constitution"] == digest(active["document"])
    assert active["sha3_512"] == sha3_512(active["document"])


async def test_a_signed_and_proved_version_is_active_once_somebody_else_approves(
    stack: Platform, changes: ConstitutionChanges
) -> None:
    before = await changes.active()
    document = await changes.next()
    document["articles"] = [*document["articles"], NO_PUBLIC_WRITES]
    proposed = await changes.propose(document)
    waiting = await changes.until(proposed, "awaiting_approval")
    assert waiting["state"] == "awaiting_approval", waiting["why"]
    assert waiting["missing"] == 1
    assert waiting["against"] == before
    assert {proof["outcome"] for proof in waiting["report"]["proofs"]} == {"proved"}
    changed = {(c["before"], c["after"]) for c in waiting["difference"]["changes"] if c["outcome"] == "found"}
    assert ("allow", "deny") in changed
    assert await changes.active() == before, "nothing changes before the approval"
    own = await stack.operator.post(f"/v1/constitutions/activations/{proposed['id']}/approve", json={})
    assert own.status_code == 403, own.text
    said = await changes.answer(proposed, "approve", comment="Checked the difference.")
    assert said.status_code == 200, said.text
    done = await changes.until(proposed)
    assert (done["state"], done["approved_by"], done["missing"]) == ("activated", ["approver"], 0)
    assert done["comments"] == {"approver": "Checked the difference."}
    assert await changes.active() == proposed["constitution"]


async def test_a_new_run_is_pinned_to_the_new_one_within_a_second_and_a_running_one_keeps_its_own(
    stack: Platform, changes: ConstitutionChanges
) -> None:
    before = await changes.active()
    capsule = await stack.publish(NAP)
    old = await stack.start(capsule, {})
    await stack.until(old, "running")
    proposed = await changes.propose(await changes.next())
    await changes.until(proposed, "awaiting_approval")
    said = await changes.answer(proposed, "approve")
    assert said.status_code == 200, said.text
    await changes.until(proposed)
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
    changes: ConstitutionChanges,
) -> None:
    before = await changes.active()
    document = await changes.next()
    unsigned = await changes.until(await changes.propose(document, signatures=[]))
    assert unsigned["state"] == "refused"
    assert "It is unsigned" in unsigned["why"]
    [good] = changes.signed(await changes.next(articles=[]))
    wrong = await changes.until(await changes.propose(document, signatures=[good]))
    assert f"the signature by key '{good['key_id']}' does not hold" in wrong["why"]
    unknown = await changes.until(
        await changes.propose(document, signatures=[{**good, "key_id": "constitution-9-0123456789abcdef"}])
    )
    assert "key 'constitution-9-0123456789abcdef' is not known here" in unknown["why"]
    assert await changes.active() == before


async def test_a_refuted_guarantee_blocks_with_its_counterexample(changes: ConstitutionChanges) -> None:
    before = await changes.active()
    document = await changes.next()
    document["articles"] = [a for a in document["articles"] if a["id"] != "no-secret-egress"]
    blocked = await changes.until(await changes.propose(document))
    assert blocked["state"] == "refused"
    assert "secrets-stay is refuted" in blocked["why"]
    [refuted] = [p for p in blocked["report"]["proofs"] if p["guarantee"] == "secrets-stay"]
    witness = refuted["witnesses"][0]
    assert (witness["action"]["data"], witness["verdict"]["decision"]) == ("secret", "allow")
    assert await changes.active() == before
    late = await changes.answer(blocked, "approve")
    assert late.status_code == 409, late.text


async def test_an_older_version_is_not_replayed_but_rolled_back_to(
    stack: Platform, changes: ConstitutionChanges
) -> None:
    first = (await stack.operator.get("/v1/constitution")).json()
    second_document = await changes.next()
    await changes.activate(second_document)
    replayed = await changes.until(await changes.propose(first["document"]))
    assert replayed["state"] == "refused"
    assert "To have it back, roll back to it" in replayed["why"]
    older = await changes.next()
    older["metadata"]["version"] = "0.9.0"
    assert "is older than" in (await changes.until(await changes.propose(older)))["why"]
    same = await changes.next(articles=[])
    same["metadata"] = second_document["metadata"]
    assert "with another content" in (await changes.until(await changes.propose(same)))["why"]
    done = await changes.approved(await changes.ask("/rollback", {}))
    assert (done["reason"], done["constitution"]) == ("rollback", first["digest"])
    assert await changes.active() == first["digest"]


async def test_a_no_ends_it_and_what_was_approved_against_another_one_is_refused(changes: ConstitutionChanges) -> None:
    before = await changes.active()
    proposed = await changes.propose(await changes.next())
    await changes.until(proposed, "awaiting_approval")
    said = await changes.answer(proposed, "reject", comment="Too early.")
    assert (said.json()["state"], said.json()["why"]) == ("rejected", "Too early.")
    assert await changes.active() == before
    one = await changes.propose(await changes.next())
    other_document = await changes.next()
    other_document["articles"] = [*other_document["articles"], NO_PUBLIC_WRITES | {"id": "no-public-writes-either"}]
    other = await changes.propose(other_document)
    await changes.until(one, "awaiting_approval")
    await changes.until(other, "awaiting_approval")
    await changes.approved(one)
    assert (await changes.answer(other, "approve")).status_code == 200
    late = await changes.until(other)
    assert late["state"] == "refused"
    assert "Meanwhile" in late["why"]


async def test_the_same_key_is_the_same_activation(stack: Platform, changes: ConstitutionChanges) -> None:
    document = await changes.next()
    body = {"document": document, "signatures": changes.signed(document)}
    answers = [
        await stack.operator.post("/v1/constitutions", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].headers["location"] == answers[1].headers["location"] == "/v1/constitutions/activations/once"
    other = {"document": document, "signatures": [], "stage": "shadow"}
    refused = await stack.operator.post("/v1/constitutions", json=other, headers={"Idempotency-Key": "once"})
    assert refused.status_code == 409, refused.text
    await changes.until({"id": "once"}, "awaiting_approval")
    await changes.answer({"id": "once"}, "reject")


async def test_a_document_that_does_not_load_is_refused_with_the_clause(changes: ConstitutionChanges) -> None:
    document = await changes.next()
    document["score"]["features"][0]["weight"] = 0.5
    problem = await changes.propose(document, status=422)
    assert "weights sum to" in problem["detail"]
