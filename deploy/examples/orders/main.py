"""The shop's worker: `python -m orders.main`. Governed by the lines around `governance`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from capsules.budgets.amounts import Amounts
from capsules.governance.application import Application, Terms
from orders.activities import Shop
from orders.workflows import Fulfilment, Shipping, Stocktakings
from somagent.governance.plugin import governance
from somagent.settings import Settings

TERMS = Terms(
    application=Application(tenant="local", name="orders", version="1.0.0"),
    actor="orders-service",
    budget=Amounts(tool_calls=50, micro_usd=50_000_000),
    platform=frozenset({"ping"}),
)


async def main() -> None:
    settings = Settings()
    shop = Shop(Path("book.jsonl"))
    async with governance(settings, TERMS) as plugin:
        client = await Client.connect(settings.temporal_target(), plugins=[plugin])
        worker = Worker(
            client,
            task_queue="orders",
            workflows=[Fulfilment, Shipping, Stocktakings],
            activities=[shop.reserve_stock, shop.charge_card, shop.book_parcel, shop.count_shelf, shop.ping],
            activity_executor=ThreadPoolExecutor(),
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
