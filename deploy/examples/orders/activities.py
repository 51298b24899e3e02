"""What the shop does to the world: every effect is a line in a book that can be read afterwards.

The lines with `@governed` are the ones that the plugin asks for; the rest is as it was.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from temporalio import activity

from capsules.actions.activity_context import report_usage
from capsules.budgets.amounts import Amounts
from capsules.governance.governed import governed
from orders.model import Address, Line, Order, Parcel, Receipt

MICRO_USD_IN_A_CENT = 10_000
FEE_IN_CENTS = 30


def total(order: Order, card: str) -> Amounts:  # noqa: ARG001 - takes what the activity takes
    """Return what a charge costs at most: the order's total and the bank's fee."""
    return Amounts(tool_calls=1, micro_usd=(order.total_cents + FEE_IN_CENTS) * MICRO_USD_IN_A_CENT)


@dataclass
class Shop:
    """Activities as methods; the book stands for bank, warehouse and carrier."""

    book: Path

    @governed(effect="write", reversible=True, egress="none", data="internal", idempotent=True)
    @activity.defn
    async def reserve_stock(self, line: Line, order: str) -> int:
        self._write("reserved", order, **asdict(line))
        return line.quantity

    @governed(effect="write", reversible=False, egress="allowlist", data="confidential", idempotent=False, cost=total)
    @activity.defn
    async def charge_card(self, order: Order, card: str) -> Receipt:
        self._write("charged", order.id, cents=order.total_cents, card=card[-4:])
        report_usage(Amounts(tool_calls=1, micro_usd=order.total_cents * MICRO_USD_IN_A_CENT))
        return Receipt(order.id, f"ch-{order.id}", order.total_cents)

    @governed(effect="write", reversible=True, egress="allowlist", data="internal", idempotent=True)
    @activity.defn
    def book_parcel(self, order: str, address: Address) -> Parcel:
        """Not asynchronous: it runs in the worker's threads."""
        self._write("booked", order, city=address.city)
        return Parcel(order, f"tr-{order}", address.city)

    @governed(effect="read", reversible=True, egress="none", data="internal", idempotent=True)
    @activity.defn
    async def count_shelf(self, shelf: int) -> int:
        self._write("counted", f"shelf-{shelf}")
        return shelf * 10

    @governed(effect="destructive", reversible=False, egress="none", data="confidential", idempotent=True)
    @activity.defn
    async def erase_customer(self, name: str) -> None:
        self._write("erased", name)

    @activity.defn
    async def ping(self) -> str:
        """Touch nothing; on the platform's list."""
        return "pong"

    @activity.defn
    async def forgotten(self) -> None:
        """Have an effect that nobody marked."""
        self._write("forgotten", "-")

    def _write(self, what: str, whose: str, **more: Any) -> None:  # noqa: ANN401 - what JSON can hold
        with self.book.open("a", encoding="utf-8") as book:
            book.write(json.dumps({"what": what, "whose": whose, **more}) + "\n")
