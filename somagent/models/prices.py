"""Price book: a data file with the price of each model from a day on, in micro-dollars per million tokens.

kind: PriceBook
currency: USD
models:
  some-model:
    - {from: 2026-01-01, input: 150000, output: 600000}
    - {from: 2026-07-01, input: 120000, output: 480000}
"""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from capsules.base_model import StrictModel
from capsules.budgets.amounts import Count
from capsules.digest import Digest, digest
from capsules.errors import Invalid
from capsules.models.chat import Price
from somagent.capsule_files.document import read


class PriceEntry(StrictModel):
    """The price of a model from a day (UTC) on, until a later entry."""

    since: dt.date = Field(alias="from")
    input: Count
    output: Count


class PriceBook(StrictModel):
    """Prices by model. Read by `load_prices`."""

    kind: Literal["PriceBook"]
    currency: Literal["USD"] = Field(description="Budgets are in dollars; no other currency is converted.")
    models: dict[str, Annotated[tuple[PriceEntry, ...], Field(min_length=1)]]

    @model_validator(mode="after")
    def _require_one_entry_per_day(self) -> Self:
        for model, entries in self.models.items():
            days = [entry.since for entry in entries]
            if len(set(days)) < len(days):
                raise ValueError(f"models.{model}: two entries begin on the same day")
        return self

    def price(self, model: str, day: dt.date) -> Price:
        """Return the price of a model on a day. Raises Invalid when there is none."""
        known = [entry for entry in self.models.get(model, ()) if entry.since <= day]
        if not known:
            raise Invalid(
                f"The price book has no price of model {model!r} on {day}: add an entry that begins on that day or "
                "before. Nothing runs at a price that nobody knows.",
                model=model,
            )
        entry = max(known, key=lambda one: one.since)
        return Price(input=entry.input, output=entry.output)

    def digest(self) -> Digest:
        """Return the digest of the book, which the lock of a run names."""
        return digest(self.model_dump(mode="json", by_alias=True))


def load_prices(path: Path) -> PriceBook:
    """Read a price book. Raises Invalid with each wrong field."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"The price book {str(path)!r} cannot be read: {error}") from error
    document = read(text, filename=path.name)
    try:
        return PriceBook.model_validate(document.value)
    except ValidationError as error:
        problems = "; ".join(f"{_format_location(one['loc'])}: {one['msg']}" for one in error.errors())
        raise Invalid(f"The price book {str(path)!r} is wrong: {problems}.") from error


def _format_location(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the book"
