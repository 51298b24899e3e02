"""The shop's workflows. The governance plugin changes nothing here."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Shop
    from shared import Address, Fulfilled, Order, Parcel, Stocktaking

MINUTE = timedelta(minutes=1)


@workflow.defn
class Fulfilment:
    """Reserves, charges and ships one order. The address may change until it ships."""

    @workflow.init
    def __init__(self, order: Order, card: str) -> None:  # noqa: ARG002 - the arguments of `run`
        self._address = order.address

    @workflow.run
    async def run(self, order: Order, card: str) -> Fulfilled:
        await asyncio.gather(
            *(
                workflow.execute_activity_method(
                    Shop.reserve_stock, args=[line, order.id], start_to_close_timeout=MINUTE
                )
                for line in order.lines
            )
        )
        receipt = await workflow.execute_activity_method(
            Shop.charge_card, args=[order, card], start_to_close_timeout=MINUTE
        )
        parcel = await workflow.execute_child_workflow(
            Shipping.run, args=[order.id, self._address], id=f"ship {order.id}"
        )
        return Fulfilled(receipt, parcel)

    @workflow.signal
    def change_address(self, address: Address) -> None:
        self._address = address


@workflow.defn
class Shipping:
    """Ships one order. It runs as a child workflow."""

    @workflow.run
    async def run(self, order: str, address: Address) -> Parcel:
        return await workflow.execute_activity_method(
            Shop.book_parcel, args=[order, address], start_to_close_timeout=MINUTE
        )


@workflow.defn
class Stocktakings:
    """Counts one shelf in each run, and continues as new with the next shelf."""

    @workflow.run
    async def run(self, state: Stocktaking) -> dict[str, int]:
        counted = await workflow.execute_activity_method(Shop.count_shelf, state.shelf, start_to_close_timeout=MINUTE)
        state.counted[f"shelf-{state.shelf}"] = counted
        if state.shelf < state.last:
            state.shelf += 1
            workflow.continue_as_new(state)
        return state.counted
