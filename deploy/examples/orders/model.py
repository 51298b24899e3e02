"""What the shop talks about: plain dataclasses."""

from dataclasses import dataclass, field


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
    """What the bank gave us for the money."""

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
    """Where a stocktaking is that goes on for ever, or until `last`."""

    shelf: int = 1
    last: int = 3
    counted: dict[str, int] = field(default_factory=dict)
