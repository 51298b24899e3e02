"""The example's own program, as its README says to start it, serves an order for the tenant of a local stack."""

import asyncio
import json
import sys

from orders.main import TERMS
from orders.workflows import Fulfilment
from sources import ROOT
from temporalio.client import Client

from capsules.budgets.amounts import Amounts
from somagent.governance.plugin import governance
from somagent.identity.keys import KeyRing
from somagent.local_stack.part import ours

EXAMPLES = ROOT / "deploy" / "examples"


async def test_the_program_serves_an_order(shop, order, activate, tmp_path):
    tenant = TERMS.application.tenant
    await activate(KeyRing.load(shop.settings.keys_dir), scope=tenant)
    async with shop.store.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tool_calls=10**6, micro_usd=10**9))
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orders.main",
        cwd=tmp_path,
        env=ours(shop.settings) | {"PYTHONPATH": str(EXAMPLES)},
    )
    try:
        async with governance(shop.settings, TERMS) as plugin, asyncio.timeout(40):
            client = await Client.connect(shop.address, plugins=[plugin])
            bought = order()
            done = await client.execute_workflow(
                Fulfilment.run, args=[bought, "4111111111111111"], id=f"example {bought.id}", task_queue="orders"
            )
        assert done.receipt.charge == f"ch-{bought.id}"
        book = [json.loads(line) for line in (tmp_path / "book.jsonl").read_text("utf-8").splitlines()]
        assert sorted(line["what"] for line in book) == ["booked", "charged", "reserved", "reserved"]
    finally:
        worker.terminate()
        await worker.wait()
