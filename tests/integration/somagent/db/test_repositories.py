"""What the repositories keep: capsules for good, runs by their request, content under its digest."""

import pytest
from databases import name_of
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import text

from capsules.audit.receipt import verify_chain
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import digest, sha256
from capsules.errors import Conflict, Invalid, NotFound, TamperedContent
from capsules.names import parse_reference
from capsules.runs.run import Artifact, CloseRun, NewRun, RunUpdate
from somagent.capsule_files.library import Library
from somagent.content.postgres import PostgresContent
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.local_stack.postgres import superuser


def _capsule(version: str, **spec) -> Capsule:
    shipped = Library.load().capsules[0]
    metadata = shipped.metadata.model_copy(update={"version": version, "summary": "Zürich \N{SNOWMAN} 1.50"})
    return shipped.model_copy(update={"metadata": metadata, "spec": shipped.spec.model_copy(update=spec)})


async def _publish(db: Database, tenant: str, capsule: Capsule):
    async with db.transaction(tenant) as tx:
        return await tx.capsules.publish(capsule, digest=capsule.digest(), signature="c2ln", key_id="k", by="ada")


async def test_a_published_version_is_what_it_was_and_other_content_is_a_conflict(db, tenant):
    capsule = _capsule("1.0.0")
    first = await _publish(db, tenant, capsule)
    assert first == await _publish(db, tenant, capsule)
    assert first.capsule == capsule
    assert first.capsule.digest() == first.digest
    with pytest.raises(Conflict, match="other content"):
        await _publish(db, tenant, _capsule("1.0.0", intent="Something else."))


async def test_a_reference_gets_the_best_version_and_a_miss_names_the_known_ones(db, tenant):
    for version in ("1.2.0", "1.10.0", "2.0.0", "2.1.0-beta"):
        published = await _publish(db, tenant, _capsule(version))
    name = published.capsule.metadata.name
    async with db.transaction(tenant) as tx:
        for range_, best in (("", "2.0.0"), ("@^1", "1.10.0"), ("@1.2.0", "1.2.0"), ("@2.1.0-beta", "2.1.0-beta")):
            found = await tx.capsules.get(parse_reference(name + range_))
            assert found.capsule.metadata.version == best
        with pytest.raises(NotFound, match=r"1\.2\.0, 1\.10\.0, 2\.0\.0") as caught:
            await tx.capsules.get(parse_reference(f"{name}@3"))
        assert caught.value.fields["reference"] == f"{name}@3"
        first = await tx.capsules.list(limit=3)
        second = await tx.capsules.list(first.next, limit=3)
    assert (len(first.items), len(second.items), second.next) == (3, 1, None)
    with pytest.raises(Invalid, match="not a cursor"):
        async with db.transaction(tenant) as tx:
            await tx.capsules.list("nonsense")


def _new_run(tenant: str, **changes) -> NewRun:
    values = {
        "id": run_id(tenant),
        "capsule": "word-count@1.0.0",
        "digest": digest("c"),
        "actor": "ada",
        "inputs": {"text": "nul \0 and ü", "n": 1.5},
        "request": digest("r"),
    }
    return NewRun(**(values | changes))


async def test_a_run_is_accepted_once_and_another_request_is_a_conflict(db, tenant):
    new = _new_run(tenant)
    async with db.transaction(tenant) as tx:
        run, created = await tx.runs.accept(new)
    assert created
    assert (run.status, run.inputs) == ("starting", new.inputs)
    async with db.transaction(tenant) as tx:
        assert await tx.runs.accept(new) == (run, False)
        assert [e.type for e in await tx.events.after(new.id)] == ["run.started"]
    with pytest.raises(Conflict, match="another request"):
        async with db.transaction(tenant) as tx:
            await tx.runs.accept(new.model_copy(update={"request": digest("other")}))


async def test_a_run_that_the_gate_saw_first_takes_the_request(db, tenant):
    new = _new_run(tenant)
    await PostgresLedger(db).begin(begin_effect(key(tenant, new.id)))
    async with db.transaction(tenant) as tx:
        run, created = await tx.runs.accept(new)
    assert (created, run.inputs, run.status) == (False, new.inputs, "running")


async def test_a_run_is_followed_closed_and_then_stays_as_it_is(db, tenant):
    runs, ledger, new = PostgresRuns(db), PostgresLedger(db), _new_run(tenant)
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(new)
    await runs.record(RunUpdate(run=new.id, tenant=tenant, status="paused", reason="lunch", step=3, note="n"))
    asked = (await ledger.begin(begin_effect(key(tenant, new.id), decision="ask"))).approval
    async with db.transaction(tenant) as tx:
        assert (await tx.runs.get(new.id)).closed_at is None
    closing = CloseRun(run=new.id, tenant=tenant, status="completed", output={"a": [1, "\0"]}, artifact=digest("a"))
    closed = await runs.close(closing)
    assert await runs.close(closing) == closed
    await runs.record(RunUpdate(run=new.id, tenant=tenant, status="running"))
    async with db.transaction(tenant) as tx:
        run = await tx.runs.get(new.id)
        chain = await tx.receipts.list(new.id)
        events = [e.type for e in await tx.events.after(new.id)]
        assert (await tx.approvals.get(asked.id)).state == "expired"
    assert (run.status, run.step, run.output, run.artifact) == ("completed", 3, closing.output, closing.artifact)
    assert run.closed_at is not None
    assert (closed.receipts, closed.head, closed.spent) == (2, chain[-1].hash, Amounts())
    assert verify_chain(chain) is None
    assert events == ["run.started", "run.changed", "approval.requested", "action.decided", "run.closed"]
    with pytest.raises(Conflict, match="has ended"):
        await ledger.begin(begin_effect(key(tenant, new.id)))
    with pytest.raises(NotFound, match="no run"):
        await runs.close(closing.model_copy(update={"run": f"{tenant}/x/none"}))


async def test_runs_are_listed_newest_first_by_status_and_capsule(db, tenant):
    made = [_new_run(tenant), _new_run(tenant, capsule="log-triage@1.0.0"), _new_run(tenant)]
    for new in made:
        async with db.transaction(tenant) as tx:
            await tx.runs.accept(new)
    async with db.transaction(tenant) as tx:
        first = await tx.runs.list(limit=2)
        rest = await tx.runs.list(first.next, limit=2)
        assert [r.id for r in (*first.items, *rest.items)] == [new.id for new in made[::-1]]
        assert [r.id for r in (await tx.runs.list(capsule="log-triage")).items] == [made[1].id]
        assert (await tx.runs.list(capsule="log-triage@2.0.0")).items == ()
        assert (await tx.runs.list(status="failed")).items == ()
        with pytest.raises(Invalid, match="1 to 500"):
            await tx.runs.list(limit=0)


async def test_altered_and_missing_receipts_are_noticed(db, tenant):
    run = run_id(tenant)
    for _ in range(3):
        await PostgresLedger(db).begin(begin_effect(key(tenant, run)))
    async with db.transaction(tenant) as tx:
        chain = await tx.receipts.list(run)
        assert await tx.receipts.list(run, after=2) == chain[2:]
    assert verify_chain(chain) is None
    forged = chain[1].model_copy(update={"body": chain[1].body | {"decision": "deny"}})
    assert "altered" in verify_chain((chain[0], forged, chain[2]))
    assert "missing" in verify_chain((chain[0], chain[2]))


async def test_content_is_read_back_and_a_tampered_blob_is_noticed(db, tenant, postgres_settings):
    content, data = PostgresContent(db), bytes(range(256)) * 50
    stored = await content.put(tenant, data, "application/octet-stream")
    assert stored == await content.put(tenant, data, "application/octet-stream") == sha256(data)
    assert await content.get(tenant, stored) == data
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        await connection.execute("UPDATE content_blobs SET data = '\\x00' WHERE tenant_id = $1", tenant)
    with pytest.raises(TamperedContent, match=stored):
        await content.get(tenant, stored)
    with pytest.raises(NotFound, match="no content"):
        await content.get(tenant, digest("nothing"))


async def test_artifacts_are_listed_with_their_run(db, tenant):
    run = run_id(tenant)
    await PostgresLedger(db).begin(begin_effect(key(tenant, run)))
    async with db.transaction(tenant) as tx:
        for _ in range(2):
            await tx.artifacts.add(
                run, Artifact(name="a.json", media_type="application/json", digest=digest(1), size=1)
            )
        (artifact,) = await tx.artifacts.list(run)
    assert (artifact.name, artifact.digest, artifact.size) == ("a.json", digest(1), 1)


async def test_an_error_rolls_everything_back(db, tenant):
    async def fail() -> None:
        async with db.transaction(tenant) as tx:
            await tx.contents.put(b"gone", "text/plain")
            raise OSError("the caller's disk is full")

    with pytest.raises(OSError, match="disk is full"):
        await fail()
    async with db.transaction(tenant) as tx:
        assert await tx.connection.scalar(text("SELECT count(*) FROM content_blobs")) == 0
