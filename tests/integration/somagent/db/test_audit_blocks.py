"""Sealing on a real PostgreSQL: one sequence without gaps, signed blocks, and what an attacker with every right leaves."""

import asyncio
import base64
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from databases import name_of
from ledger_messages import begin_effect, finish_effect, key, run_id
from sealer_keys import SealerKeys

from capsules.audit.audit_blocks import Block
from capsules.audit.auditor import Auditor, VerificationError, group_by_block
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings


@pytest.fixture
def sealer_keys(tmp_path: Path) -> SealerKeys:
    return SealerKeys(tmp_path)


async def add_receipts(ledger: PostgresLedger, tenant: str, run: str, times: int = 3) -> None:
    """Let a run do something: two receipts each time."""
    for _ in range(times):
        attempt = key(tenant, run)
        await ledger.begin(begin_effect(attempt))
        await ledger.finish(finish_effect(attempt))


async def check_audit(db: Database, tenant: str, sealer_keys: SealerKeys) -> Auditor:
    """Check all of it, as an auditor does. Raises VerificationError."""
    async with db.transaction(tenant) as tx:
        blocks, records = await tx.audit.blocks(), await tx.audit.records(limit=5000)
        status = await tx.audit.status()
    auditor = Auditor(tenant, sealer_keys.checks)
    for block, own in group_by_block(blocks, records):
        auditor.check_block(block, own)
    if status.strays:
        raise VerificationError(f"In no block: {status.strays[0]}.")
    return auditor


async def test_receipts_and_changes_are_sealed_in_one_sequence(
    db: Database, ledger: PostgresLedger, tenant: str, blocks: BlockWriter, sealer_keys: SealerKeys
) -> None:
    run = run_id(tenant)
    await add_receipts(ledger, tenant, run)
    async with db.transaction(tenant) as tx:
        await tx.audit.add("ada", "test.changed", "nothing", {"é": "<ü>", "n": 1})
        assert (await tx.audit.status()).waiting == 7
    assert tenant in await blocks.waiting()
    first = await blocks.close_block(tenant, sealer_keys.sign, most=5)
    second = await blocks.close_block(tenant, sealer_keys.sign, most=5)
    assert first is not None
    assert second is not None
    assert (first.first, first.last, second.first, second.last) == (1, 5, 6, 7)
    assert second.previous == first.digest
    assert await blocks.close_block(tenant, sealer_keys.sign, most=5) is None
    assert tenant not in await blocks.waiting()
    auditor = await check_audit(db, tenant, sealer_keys)
    assert (auditor.blocks, auditor.leaves, auditor.runs, auditor.head) == (2, 7, 1, second.digest)
    async with db.transaction(tenant) as tx:
        proofs = await tx.audit.inclusions(run)
        sealed = {block.height: block for block in await tx.audit.blocks()}
    assert [proof.leaf.number for proof in proofs] == [1, 2, 3, 4, 5, 6]
    assert all(proof.holds(sealed[proof.height]) for proof in proofs)
    assert not proofs[0].holds(sealed[2])


async def test_sealers_that_race_writers_and_each_other_leave_no_gap_and_no_double(
    db: Database, ledger: PostgresLedger, tenant: str, blocks: BlockWriter, sealer_keys: SealerKeys
) -> None:
    writing = asyncio.gather(*(add_receipts(ledger, tenant, run_id(tenant), times=5) for _ in range(10)))

    async def seal() -> None:
        while not writing.done():
            await blocks.close_block(tenant, sealer_keys.sign, most=7)

    await asyncio.gather(writing, seal(), seal(), seal())
    while await blocks.close_block(tenant, sealer_keys.sign, most=7):
        pass
    auditor = await check_audit(db, tenant, sealer_keys)
    assert (auditor.leaves, auditor.runs) == (100, 10)


@pytest.mark.parametrize("table", ["audit_entries", "seal_leaves", "seal_blocks", "seal_pending", "receipts"])
async def test_who_writes_records_can_neither_change_nor_seal_them(db: Database, tenant: str, table: str) -> None:
    for statement in (f"UPDATE {table} SET hash = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        async with db.pool.acquire() as connection:
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedColumnError)):
                await connection.execute(statement)
    if table in {"seal_leaves", "seal_blocks", "seal_pending"}:
        async with db.pool.acquire() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"INSERT INTO {table} (tenant_id) VALUES ($1)", tenant)


async def test_the_sealer_sees_hashes_alone(blocks: BlockWriter) -> None:
    for table in ("receipts", "audit_entries", "runs", "approvals"):
        async with blocks.pool.acquire() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM {table}")


def sign_block(block: Block, key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.sign(block.digest.encode())).decode()


ATTACKS = {
    "receipt altered": (
        "UPDATE receipts SET body = replace(body::text, 'ada', 'eve')::json WHERE run = $1 AND seq = 3",
        "Receipt 3 of run '{run}' was altered",
    ),
    "receipt altered with its hashes": (
        "UPDATE receipts SET body = '{{}}', body_digest = 'sha256:0', hash = 'sha256:0' WHERE run = $1 AND seq = 5",
        "Receipt 5 of run '{run}' was altered",
    ),
    "receipt deleted": (
        "DELETE FROM receipts WHERE run = $1 AND seq = 2",
        "Receipt 2 of run '{run}' is gone",
    ),
    "receipt inserted": (
        (
            "INSERT INTO receipts SELECT tenant_id, run, 7, at, kind, activity, attempt, body, body_digest, hash, hash "
            "FROM receipts WHERE run = $1 AND seq = 6"
        ),
        "In no block: {run} 7.",
    ),
    "leaf altered": (
        "UPDATE seal_leaves SET hash = 'sha256:0' WHERE subject = $1 AND number = 4",
        "Receipt 4 of run '{run}' was altered",
    ),
    "leaf deleted": (
        "DELETE FROM seal_leaves WHERE subject = $1 AND number = 6",
        "Block 2 covers up to sequence number 6; 6 is missing",
    ),
    "block deleted": (
        "DELETE FROM seal_blocks WHERE $1 <> '' AND height = 1 AND tenant_id = split_part($1, '/', 1)",
        "Block 1 is missing: the next one found is 2.",
    ),
    "block altered": (
        "UPDATE seal_blocks SET sealed_at = now() WHERE height = 2 AND tenant_id = split_part($1, '/', 1)",
        "Block 2 was altered",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_first_bad_item_is_named_whatever_a_superuser_did(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings,
    db: Database,
    ledger: PostgresLedger,
    tenant: str,
    blocks: BlockWriter,
    sealer_keys: SealerKeys,
    attack: str,
) -> None:
    run = run_id(tenant)
    await add_receipts(ledger, tenant, run)
    while await blocks.close_block(tenant, sealer_keys.sign, most=3):
        pass
    assert (await check_audit(db, tenant, sealer_keys)).leaves == 6
    statement, named = ATTACKS[attack]
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        await connection.execute("SET session_replication_role = replica")  # no trigger, no foreign key
        status = await connection.execute(statement.replace("{{}}", "{}"), run)
        assert status.endswith(" 1"), "the attack took place"
    with pytest.raises(VerificationError) as caught:
        await check_audit(db, tenant, sealer_keys)
    assert named.format(run=run) in str(caught.value)


async def test_a_block_signed_by_another_key_is_named(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings,
    db: Database,
    ledger: PostgresLedger,
    tenant: str,
    blocks: BlockWriter,
    sealer_keys: SealerKeys,
) -> None:
    await add_receipts(ledger, tenant, run_id(tenant))
    block = await blocks.close_block(tenant, sealer_keys.sign, most=100)
    assert block is not None
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE seal_blocks SET signature = $1 WHERE tenant_id = $2",
            sign_block(block, Ed25519PrivateKey.generate()),
            tenant,
        )
    with pytest.raises(VerificationError, match="The signature of block 1 by key 'sealer-1-"):
        await check_audit(db, tenant, sealer_keys)


async def test_what_was_cut_off_is_told_by_the_anchor(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings,
    db: Database,
    ledger: PostgresLedger,
    tenant: str,
    blocks: BlockWriter,
    sealer_keys: SealerKeys,
) -> None:
    await add_receipts(ledger, tenant, run_id(tenant))
    while await blocks.close_block(tenant, sealer_keys.sign, most=3):
        pass
    anchored = [block.model_dump(mode="json") for block in await blocks.blocks_after(tenant, 0)]
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        await connection.execute("SET session_replication_role = replica")
        for table in ("seal_leaves", "seal_blocks"):
            await connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1 AND height = 2", tenant)
        await connection.execute("DELETE FROM receipts WHERE tenant_id = $1 AND seq > 3", tenant)
    auditor = await check_audit(db, tenant, sealer_keys)
    assert auditor.leaves == 3, "what is left is sound in itself"
    left = {1: anchored[0]["digest"]}
    with pytest.raises(VerificationError, match="Block 2 was anchored and is gone"):
        auditor.check_anchors(anchored, left.get)
    with pytest.raises(VerificationError, match="Block 1 is not the one that was anchored"):
        auditor.check_anchors([{**anchored[0], "digest": "sha256:0"}], left.get)
