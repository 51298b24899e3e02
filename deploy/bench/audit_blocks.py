"""Benchmark of audit blocks: closing 100,000 real receipts and ledger entries into blocks, and verifying them."""

import asyncio
import time

from bench import Bench, Turns
from results import Goal, Result, result
from rig import enter_run

from capsules.audit.audit_blocks import Block
from capsules.audit.auditor import Auditor, Record, group_by_block
from capsules.audit.projections import ProjectionAuditor
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from somagent.db.database import Database, open_database
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.identity.keys import KeyRing, verify_signature
from somagent.local_stack.bootstrap import TENANT
from somagent.settings import Settings
from workers.sealer.process import BLOCK_LEAVES

RUNS, EACH = 100, 250
"""Runs, and actions of each: two receipts and two ledger entries for an action."""
RECORDS = RUNS * EACH * 4
PAGE = 5000
APPEND = (
    "SELECT count(receipt_append($1, 'decision', 'a' || number, 1, "
    """jsonb_build_object('decision', '"allow"', 'reason', '"policy"', 'activity', to_json('a' || number)::text, """
    "'action', $2::text))) FROM generate_series(1, $3::integer) AS number"
)
"""Receipts as the gate appends them, with an action of usual size."""
POST = (
    "SELECT count(account_post($1, 'reserve', key, '', amounts_none(), amounts_none(), held)), "
    "count(account_post($1, 'settle', key, '', amounts_none(), (10, 5, 1)::amounts, "
    "amounts_minus(amounts_none(), held))) "
    "FROM (SELECT 'bench/e/' || number AS key, (20, 10, 1)::amounts AS held "
    "FROM generate_series(1, $2::integer) AS number) AS effects"
)
"""Entries of effects: what each reserves, and what it used."""
LIMIT = Amounts(tokens=100_000, micro_usd=100_000, tool_calls=10_000)
ACTION = (
    '{"arguments":"sha256:070beff8392b0096ceeca97608f564882a300886f3fd6ab204b3bd23caf62bd8","cost":{"micro_usd":0,'
    '"tokens":512,"tool_calls":1},"data":"internal","effect":"read","egress":"none","idempotent":true,'
    '"kind":"tool.invoke","least":null,"reversible":true,"target":"python@1.0.0/run"}'
)


async def measure(turns: Turns) -> list[Result]:
    settings = turns.settings
    async with (
        open_database(settings.database("app")) as db,
        open_database(settings.database("owner")) as owner,
        open_database(settings.database("sealer")) as sealers,
    ):
        await _append_records(owner)
        turns.report(0.5)
        sealing = await _seal(BlockWriter(sealers.pool), settings)
        turns.report(0.6)
        rates = await _verify(db, settings)
        turns.report(1.0)
    return [
        result("seal-100k", "s", [sealing], goal=Goal("ours", "<", 3)),
        result("audit-verify", "records/s", rates, goal=Goal("ours", ">=", 150_000)),
    ]


async def _append_records(db: Database) -> None:
    async def one() -> None:
        async with db.transaction(TENANT) as tx:
            run = await enter_run(tx, TENANT)
            await tx.accounts.ensure(f"run:{run}", LIMIT)
        async with db.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('somagent.tenant', $1, true)", TENANT)
            await connection.fetchval(APPEND, run, ACTION, EACH * 2)
            await connection.fetchval(POST, f"run:{run}", EACH)

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
    """Return the records per second of three checks of all blocks, which are read before."""
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
        auditor = Auditor(TENANT, checks, ProjectionAuditor().read)
        began = time.perf_counter()
        for block, own in group_by_block(blocks, records):
            auditor.check_block(block, own)
        rates.append(len(records) / (time.perf_counter() - began))
        assert auditor.leaves == len(records) >= RECORDS
    return rates


BENCH = Bench(
    name="audit-blocks",
    needs=("bootstrap",),
    measure=measure,
    explained={
        "seal-100k": "The sealer's work over 100,000 waiting records of 100 runs, half receipts, half ledger entries: "
        "number, hash, Merkle roots, sign, add blocks, commit. There is no anchor.",
        "audit-verify": "`Auditor` over those records, read before: every body hashed and parsed, every run's chain, "
        "every column, every leaf and root, every signature, and the sums of every account.",
    },
)
