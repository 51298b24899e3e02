"""Retention: what was kept long enough goes, and nothing else; a legal hold keeps it; the record stays whole."""

import datetime as dt

import pytest
from ledger_messages import begin_effect, finish_effect, key, run_id
from sqlalchemy import text

from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import Conflict, NotFound
from capsules.retention import DueContent, HoldRequest, Retention
from capsules.runs.run import Artifact, CloseRun, NewRun
from somagent.db.database import Database
from somagent.db.gate.run_projection import PostgresRuns
from somagent.db.repositories.retention import prune

KEPT = Retention(content_days=30, memory_days=30)
NOTHING = DueContent(runs=0, blobs=0, memories=0)


@pytest.fixture(autouse=True)
async def terms(db: Database, tenant: str) -> None:
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tokens=10**6))
        await tx.retention.set(KEPT, by="rosa")


async def ended_run(
    db: Database, ledger, tenant: str, *, blob: bytes = b"", name: str = "word-count", run: str = ""
) -> str:
    """Return a run that took an input, did one thing, handed an artifact over and ended."""
    run = run or f"{tenant}/{name}/{run_id(tenant).rpartition('/')[2]}"
    parent = run.rpartition("/")[0] if run.count("/") > 2 else None
    new = NewRun(
        id=run,
        capsule=f"{name}@1.0.0",
        digest=digest({}),
        actor="ada",
        inputs={"text": "secret"},
        request=digest(run),
        parent=parent,
    )
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(new)
    act = key(tenant, run)
    await ledger.begin(begin_effect(act))
    await ledger.finish(finish_effect(act, usage=Amounts(tool_calls=0), result={"said": "secret"}))
    async with db.transaction(tenant) as tx:
        stored = await tx.contents.put(blob or run.encode(), "text/plain")
        await tx.artifacts.add(run, Artifact(name="out", media_type="text/plain", digest=stored, size=1))
    await PostgresRuns(db).close(CloseRun(run=run, tenant=tenant, status="completed", output="secret"))
    return run


async def age_records(owner: Database, tenant: str, days: int, run: str | None = None) -> None:
    """Let a run, or everything, be that much older: this one test turns the clock, with the owner's right."""
    past = {"back": dt.timedelta(days=days), "run": run}
    async with owner.transaction(tenant) as tx:
        await tx.connection.execute(text("ALTER TABLE runs DISABLE TRIGGER kept"))
        for change in (
            (
                "UPDATE runs SET created_at = created_at - CAST(:back AS interval), closed_at = closed_at - CAST(:back AS interval) "
                "WHERE CAST(:run AS text) IS NULL OR id = :run"
            ),
            (
                "UPDATE content_blobs SET created_at = created_at - CAST(:back AS interval), last_put_at = last_put_at - CAST(:back AS interval) "
                "WHERE CAST(:run AS text) IS NULL OR digest IN (SELECT digest FROM artifacts WHERE run = :run)"
            ),
            "UPDATE memories SET created_at = created_at - CAST(:back AS interval) WHERE CAST(:run AS text) IS NULL OR run = :run",
            "UPDATE outbox SET published_at = now() WHERE CAST(:run AS text) IS NULL OR run = :run",
        ):
            await tx.connection.execute(text(change), past)
        await tx.connection.execute(text("ALTER TABLE runs ENABLE TRIGGER kept"))


async def row_counts(db: Database, tenant: str) -> dict[str, int]:
    async with db.transaction(tenant) as tx:
        tables = ("content_blobs", "outbox", "memories", "receipts", "ledger_entries")
        return {t: await tx.connection.scalar(text(f"SELECT count(*) FROM {t}")) or 0 for t in tables}


async def test_what_is_due_goes_and_the_record_stays(db, owner, relay, ledger, tenant):
    old, young = await ended_run(db, ledger, tenant), await ended_run(db, ledger, tenant)
    before = await row_counts(db, tenant)
    assert await prune(relay.engine, tenant, 100) == NOTHING
    await age_records(owner, tenant, 31, old)
    async with db.transaction(tenant) as tx:
        assert await tx.retention.due() == DueContent(runs=1, blobs=1, memories=0)
    assert await prune(relay.engine, tenant, 100) == DueContent(runs=1, blobs=1, memories=0)
    assert await prune(relay.engine, tenant, 100) == NOTHING
    async with db.transaction(tenant) as tx:
        gone, kept = await tx.runs.get(old), await tx.runs.get(young)
        assert (gone.inputs, gone.output, gone.status) == ({}, None, "completed")
        assert gone.pruned_at is not None
        assert (kept.inputs, kept.output, kept.pruned_at) == ({"text": "secret"}, "secret", None)
        (artifact,) = await tx.artifacts.list(old)
        with pytest.raises(NotFound):
            await tx.contents.get(artifact.digest)
        left = await tx.connection.scalar(
            text("SELECT count(*) FROM effects WHERE run = :r AND result IS NOT NULL"), {"r": old}
        )
        assert left == 0
        entries = (
            await tx.connection.execute(text("SELECT subject FROM audit_entries WHERE action = 'retention.pruned'"))
        ).all()
        assert [row.subject for row in entries] == [old]
        assert await tx.accounts.breaches() == ()
    after = await row_counts(db, tenant)
    assert (after["receipts"], after["ledger_entries"]) == (before["receipts"], before["ledger_entries"])
    assert after["outbox"] < before["outbox"]


async def test_bytes_that_a_kept_run_put_again_stay(db, owner, relay, ledger, tenant):
    first = await ended_run(db, ledger, tenant, blob=b"the same")
    await age_records(owner, tenant, 40, first)
    second = await ended_run(db, ledger, tenant, blob=b"the same")
    assert await prune(relay.engine, tenant, 100) == DueContent(runs=1, blobs=0, memories=0)
    async with db.transaction(tenant) as tx:
        (artifact,) = await tx.artifacts.list(second)
        assert await tx.contents.get(artifact.digest) == b"the same"


@pytest.mark.parametrize("scope", ["tenant", "capsule:word-count", "run:{run}", "run:{parent}"])
async def test_a_hold_keeps_what_it_covers_until_it_is_lifted(  # noqa: PLR0917 - pytest gives fixtures by name
    db, owner, relay, ledger, tenant, scope
):
    parent = f"{tenant}/both/1"
    await ended_run(db, ledger, tenant, name="both", run=parent)
    held = await ended_run(db, ledger, tenant, run=f"{parent}/task")
    other = await ended_run(db, ledger, tenant, name="elsewhere")
    async with db.transaction(tenant) as tx:
        hold = await tx.retention.place(
            HoldRequest(scope=scope.format(run=held, parent=parent), reason="Case 7"), by="rosa"
        )
    await age_records(owner, tenant, 50)
    await prune(relay.engine, tenant, 100)
    async with db.transaction(tenant) as tx:
        assert (await tx.runs.get(held)).output == "secret"
        (artifact,) = await tx.artifacts.list(held)
        assert await tx.contents.get(artifact.digest)
        assert ((await tx.runs.get(other)).output is None) == (scope != "tenant")
        assert ((await tx.runs.get(parent)).output is None) == (scope in {"capsule:word-count", "run:{run}"})
        await tx.retention.lift(hold.id, by="olga")
    await prune(relay.engine, tenant, 100)
    async with db.transaction(tenant) as tx:
        assert (await tx.runs.get(held)).output is None
        (lifted,) = await tx.retention.holds()
        assert (lifted.placed_by, lifted.lifted_by) == ("rosa", "olga")
    for wrong, error in ((hold.id, Conflict), ("nothing", NotFound)):
        with pytest.raises(error):
            async with db.transaction(tenant) as tx:
                await tx.retention.lift(wrong, by="olga")


async def test_nothing_is_deleted_where_nothing_is_set_and_batches_end(db, owner, relay, ledger, tenant):
    for _ in range(3):
        await ended_run(db, ledger, tenant)
    async with db.transaction(tenant) as tx:
        await tx.retention.set(Retention(), by="rosa")
    await age_records(owner, tenant, 5000)
    assert await prune(relay.engine, tenant, 100) == NOTHING
    async with db.transaction(tenant) as tx:
        await tx.retention.set(KEPT, by="rosa")
    assert [(await prune(relay.engine, tenant, 2)).runs for _ in range(3)] == [2, 1, 0]


async def test_only_the_relay_deletes_and_a_hold_is_never_changed(db, owner, tenant):
    async with db.transaction(tenant) as tx:
        hold = await tx.retention.place(HoldRequest(scope="tenant", reason="Case 7"), by="rosa")
    for statement in (
        f"SELECT retention_prune('{tenant}', 5)",
        "DELETE FROM content_blobs",
        "DELETE FROM legal_holds",
        "UPDATE legal_holds SET scope = 'run:x'",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with db.transaction(tenant) as tx:
                await tx.connection.execute(text(statement))
    for statement in ("UPDATE legal_holds SET reason = 'none'", "DELETE FROM legal_holds"):
        with pytest.raises(Conflict):
            async with owner.transaction(tenant) as tx:
                await tx.connection.execute(text(statement))
    async with db.transaction(tenant) as tx:
        assert [one.id for one in await tx.retention.holds()] == [hold.id]
