"""The shop's activities. Each effect writes a line to a file, the book, so that it can be read afterwards.

For the governance plugin each activity has a marker, `@governed(…)`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from temporalio import activity

from shared import Address, Line, Order, Parcel, Receipt
from somagent.governance import Amounts, governed, report_usage

MICRO_USD_IN_A_CENT = 10_000
FEE_IN_CENTS = 30


def total(order: Order, card: str) -> Amounts:  # noqa: ARG001 - has the activity's parameters
    """Return the upper bound of a charge: the order's total and the bank's fee."""
    return Amounts(tool_calls=1, micro_usd=(order.total_cents + FEE_IN_CENTS) * MICRO_USD_IN_A_CENT)


@dataclass
class Shop:
    """The shop. Its book stands for bank, warehouse and carrier."""

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
        """Book a parcel in a thread of the worker, because this is no coroutine."""
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
        """Have no effect. It is on the list `platform` of the terms, so it runs without the gate."""
        return "pong"

    @activity.defn
    async def forgotten(self) -> None:
        """Have an effect, without a marker: the gate refuses it."""
        self._write("forgotten", "-")

    def _write(self, what: str, whose: str, **more: Any) -> None:  # noqa: ANN401 - what JSON can hold
        with self.book.open("a", encoding="utf-8") as book:
            book.write(json.dumps({"what": what, "whose": whose, **more}) + "\n")
