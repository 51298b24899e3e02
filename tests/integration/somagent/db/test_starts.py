"""Starts are claimed once, revocations last, and a stored lock counts only with the digest of the run's authority."""

import asyncpg
import pytest
from capsule_texts import utility
from ledger_messages import run_id
from locks import lock_of

from capsules.digest import digest
from capsules.errors import TamperedContent
from capsules.names import parse_reference
from capsules.runs.lock import Lock
from capsules.runs.run import NewRun
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.db.gate.locks import PostgresLocks

LOCK = lock_of(load(utility("locked", "print(1)")), [Library.load().tool(parse_reference("python@1"))])


async def claim(db: Database, tenant: str, run: str, execution: str, nonce: str = "once") -> str | None:
    async with db.transaction(tenant) as tx:
        return await tx.starts.claim(run, nonce, execution)


async def revoke(db: Database, tenant: str, nonce: str) -> None:
    async with db.transaction(tenant) as tx:
        await tx.starts.revoke(nonce, "the schedule was deleted", "ana")


async def test_a_run_is_started_by_one_chain_of_executions(db: Database, tenant: str) -> None:
    run = run_id(tenant)
    assert await claim(db, tenant, run, "first") is None
    assert await claim(db, tenant, run, "first") is None, "a retry of the same"
    for nonce in ("once", "another"):
        assert await claim(db, tenant, run, "second", nonce) == "the run was started before, as execution first"
    assert await claim(db, tenant, run_id(tenant), "second") is None


async def test_a_revoked_authority_starts_nothing_and_a_second_revocation_changes_nothing(
    db: Database, tenant: str
) -> None:
    for _ in range(2):
        await revoke(db, tenant, "once")
    refused = await claim(db, tenant, run_id(tenant), "first")
    assert refused is not None
    assert refused.startswith("its authority was revoked by ana at 20")
    assert refused.endswith("Z: the schedule was deleted")
    assert await claim(db, tenant, run_id(tenant), "first", "another") is None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO run_starts (tenant_id, run, nonce, first_execution) VALUES ('t', 'r', 'n', 'e')",
        "UPDATE run_starts SET first_execution = 'mine'",
        "DELETE FROM revoked_starts",
        "DELETE FROM run_starts",
    ],
)
async def test_the_application_gives_no_start_back(db: Database, tenant: str, statement: str) -> None:
    await claim(db, tenant, run_id(tenant), "first")
    await revoke(db, tenant, "once")
    async with db.pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute(statement)


async def admit(db: Database, tenant: str, lock: Lock) -> str:
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        capsule = lock.capsule
        new = NewRun(id=run, capsule=capsule.ref, digest=capsule.digest(), actor="ana", request=digest(run))
        await tx.runs.accept(new)
        await tx.runs.admit(
            run, digest=capsule.digest(), parent=None, account=f"run:{run}", lock=lock.model_dump(mode="json")
        )
    return run


async def test_a_lock_is_read_back_with_the_digest_that_it_was_written_with(db: Database, tenant: str) -> None:
    many = LOCK.model_copy(update={"composites": frozenset(f"c{n}@1.0.0" for n in range(20))})
    run = await admit(db, tenant, many)
    locks = PostgresLocks(db)
    assert await locks.get(tenant, run, many.digest()) == many
    assert await locks.get(tenant, run, None) == many, "for an authority from before digests"


async def test_an_altered_lock_is_named(db: Database, tenant: str) -> None:
    altered = LOCK.model_copy(update={"image": "another"})
    run = await admit(db, tenant, altered)
    with pytest.raises(TamperedContent, match="Somebody changed it"):
        await PostgresLocks(db).get(tenant, run, LOCK.digest())


async def test_a_run_without_a_lock_has_none(db: Database, tenant: str) -> None:
    assert await PostgresLocks(db).get(tenant, run_id(tenant), None) is None
    with pytest.raises(TamperedContent):
        await PostgresLocks(db).get(tenant, run_id(tenant), LOCK.digest())
