"""The example's own programs, started as its README says, serve an order for the tenant of a local stack."""

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE

from sources import ROOT

from capsules.budgets.amounts import Amounts
from somagent.identity.keys import KeyRing
from somagent.local_stack.environment import product_environment


async def test_the_programs_serve_an_order_from_their_own_directory(shop, activate, tmp_path):
    directory = shutil.copytree(ROOT / "deploy" / "examples" / "orders", tmp_path / "orders")
    await activate(KeyRing.load(shop.settings.keys_dir), scope="local")
    async with shop.db.transaction("local") as tx:
        await tx.accounts.ensure("tenant:local", Amounts(tool_calls=10**6, micro_usd=10**9))

    async def program(*command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=directory, env=product_environment(shop.settings), stdout=PIPE
        )

    worker = await program("worker.py")
    try:
        async with asyncio.timeout(120):
            said, _ = await (await program("starter.py", "o-7")).communicate()
        assert said.decode() == "charge ch-o-7, parcel tr-o-7 to Turin\n"
        book = [json.loads(line) for line in (directory / "book.jsonl").read_text("utf-8").splitlines()]
        assert sorted(line["what"] for line in book) == ["booked", "charged", "reserved", "reserved"]
    finally:
        worker.terminate()
        await worker.wait()
