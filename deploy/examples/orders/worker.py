"""The shop's worker: `python worker.py`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Shop
from shared import TASK_QUEUE, TERMS
from somagent.governance import Settings, governance
from workflows import Fulfilment, Shipping, Stocktakings


async def main() -> None:
    settings = Settings()
    shop = Shop(Path("book.jsonl"))
    async with governance(settings, TERMS) as plugin:
        client = await Client.connect(settings.temporal_target(), plugins=[plugin])
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Fulfilment, Shipping, Stocktakings],
            activities=[shop.reserve_stock, shop.charge_card, shop.book_parcel, shop.count_shelf, shop.ping],
            activity_executor=ThreadPoolExecutor(),
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
