"""Benchmark of audit blocks: closing 100,000 real receipts into blocks, and verifying them."""

import asyncio
import time

from bench import Bench, Turns
from results import Goal, Result, result
from rig import enter_run

from capsules.audit.audit_blocks import Block
from capsules.audit.auditor import Auditor, Record, group_by_block
from capsules.digest import Digest
from somagent.db.database import Database, open_database
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.identity.keys import KeyRing, verify_signature
from somagent.local_stack.bootstrap import TENANT
from somagent.settings import Settings
from workers.sealer.process import BLOCK_LEAVES

RUNS, EACH = 100, 1000
PAGE = 5000
APPEND = (
    "SELECT count(receipt_append($1, 'decision', 'a' || number, 1, "
    """jsonb_build_object('decision', '"allow"', 'reason', '"policy"', 'activity', to_json('a' || number)::text, """
    "'action', $2::text))) FROM generate_series(1, $3::integer) AS number"
)
"""Receipts as the gate appends them, with an action of usual size."""
ACTION = (
    '{"arguments":"sha256:070beff8392b0096ceeca97608f564882a300886f3fd6ab204b3bd23caf62bd8","cost":{"micro_usd":0,'
    '"tokens":512,"tool_calls":1},"data":"internal","effect":"read","egress":"none","idempotent":true,'
    '"kind":"tool.invoke","least":null,"reversible":true,"target":"python@1.0.0/run"}'
)


async def measure(turns: Turns) -> list[Result]:
    settings = turns.settings
    async with open_database(settings.database("app")) as db, open_database(settings.database("sealer")) as sealers:
        await _append_receipts(db)
        turns.report(0.5)
        sealing = await _seal(BlockWriter(sealers.pool), settings)
        turns.report(0.6)
        rates = await _verify(db, settings)
        turns.report(1.0)
    return [
        result("seal-100k", "s", [sealing]),
        result("audit-verify", "receipts/s", rates, goal=Goal("ours", ">=", 50_000)),
    ]


async def _append_receipts(db: Database) -> None:
    async def one() -> None:
        async with db.transaction(TENANT) as tx:
            run = await enter_run(tx, TENANT)
        async with db.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('somagent.tenant', $1, true)", TENANT)
            await connection.fetchval(APPEND, run, ACTION, EACH)

    for _ in range(RUNS // 4):
        await asyncio.gather(*(one() for _ in range(4)))


async def _seal(blocks: BlockWriter, settings: Settings) -> float:
    keyring = KeyRing.load(settings.sealer_keys_dir)

    def sign(value: Digest) -> tuple[str, str]:
        signed = keyring.sign("sealer", value.encode())
        return signed.key_id, signed.value

    began = time.perf_counter()
    while await blocks.close_block(TENANT, sign, most=BLOCK_LEAVES):
        pass
    return time.perf_counter() - began


async def _verify(db: Database, settings: Settings) -> list[float]:
    """Return the receipts per second of three checks of all blocks, which are read before."""
    keyring = KeyRing.load(settings.keys_dir)

    def checks(key_id: str, text: str, signature: str) -> bool:
        return verify_signature(keyring.verifier("sealer", key_id), text.encode(), signature)

    blocks: list[Block] = []
    records: list[Record] = []
    async with db.transaction(TENANT) as tx:
        while part := await tx.audit.blocks(blocks[-1].height if blocks else 0):
            blocks += part
        while read := await tx.audit.records(records[-1].leaf.seq if records else 0, PAGE):
            records += read
    rates = []
    for _ in range(3):
        auditor = Auditor(TENANT, checks)
        began = time.perf_counter()
        for block, own in group_by_block(blocks, records):
            auditor.check_block(block, own)
        rates.append(RUNS * EACH / (time.perf_counter() - began))
        assert auditor.leaves == len(records) >= RUNS * EACH
    return rates


BENCH = Bench(
    name="audit-blocks",
    needs=("bootstrap",),
    measure=measure,
    explained={
        "seal-100k": "The sealer's work over 100,000 waiting receipts of 100 runs: number, hash, Merkle roots, sign, "
        "add two blocks, commit. There is no anchor.",
        "audit-verify": "`Auditor` over those 100,000 receipts, read before: every body hashed, every run's chain, "
        "every leaf and root, every signature.",
    },
)
