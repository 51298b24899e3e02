"""Data classes of the shop, its task queue, and the terms under which it is governed."""

from dataclasses import dataclass, field

from somagent.governance import Amounts, Application, Terms

TASK_QUEUE = "orders"
TERMS = Terms(
    application=Application(tenant="local", name="orders", version="1.0.0"),
    actor="orders-service",
    budget=Amounts(tool_calls=50, micro_usd=50_000_000),
    platform=frozenset({"ping"}),
)


@dataclass
class Line:
    sku: str
    quantity: int


@dataclass
class Address:
    name: str
    street: str
    city: str


@dataclass
class Order:
    id: str
    lines: list[Line]
    total_cents: int
    address: Address


@dataclass
class Receipt:
    """The bank's confirmation of a charge."""

    order: str
    charge: str
    cents: int


@dataclass
class Parcel:
    order: str
    tracking: str
    city: str


@dataclass
class Fulfilled:
    receipt: Receipt
    parcel: Parcel


@dataclass
class Stocktaking:
    """Progress of a stocktaking. It ends with the shelf `last`."""

    shelf: int = 1
    last: int = 3
    counted: dict[str, int] = field(default_factory=dict)
