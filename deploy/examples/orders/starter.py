"""Starts the fulfilment of one order and prints the result: `python starter.py ORDER`."""

import asyncio
import sys

from temporalio.client import Client

from shared import TASK_QUEUE, TERMS, Address, Line, Order
from somagent.governance import Settings, governance
from workflows import Fulfilment


async def main(number: str) -> None:
    settings = Settings()
    order = Order(number, [Line("tea", 2), Line("cup", 1)], 2_000, Address("Ada", "1 Main St", "Turin"))
    async with governance(settings, TERMS) as plugin:
        client = await Client.connect(settings.temporal_target(), plugins=[plugin])
        done = await client.execute_workflow(
            Fulfilment.run, args=[order, "4111111111111111"], id=f"order {number}", task_queue=TASK_QUEUE
        )
        print(f"charge {done.receipt.charge}, parcel {done.parcel.tracking} to {done.parcel.city}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
