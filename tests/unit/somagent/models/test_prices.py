"""The price book: looked up by day, in whole micro-dollars; what is no price is refused. No invented prices."""

import datetime as dt
from pathlib import Path

import pytest

from capsules.errors import Invalid
from capsules.models.chat import Price
from somagent.models.prices import load_prices
from somagent.models.profiles import Profiles
from somagent.settings import Settings

BOOK = """
kind: PriceBook
currency: USD
models:
  smollm2-135m-instruct:
    - {from: 2026-07-01, input: 120000, output: 480000}
    - {from: 2026-01-01, input: 150000, output: 600000}
"""
MODEL = "smollm2-135m-instruct"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(BOOK)
    return file


@pytest.mark.parametrize(
    ("day", "input_price"),
    [("2026-01-01", 150_000), ("2026-06-30", 150_000), ("2026-07-01", 120_000), ("2030-01-01", 120_000)],
)
def test_the_newest_entry_that_has_begun_counts(book: Path, day: str, input_price: int) -> None:
    profiles = Profiles.from_settings(Settings(price_book=book))
    assert profiles.price("dialogue", dt.date.fromisoformat(day)) == Price(input=input_price, output=4 * input_price)


def test_what_the_book_does_not_know_is_not_free(book: Path) -> None:
    with pytest.raises(Invalid, match=f"no price of model '{MODEL}' on 2025-12-31"):
        load_prices(book).price(MODEL, dt.date(2025, 12, 31))
    named = Settings(
        price_book=book, slm_profiles={"critique": {"model": "other"}, "planner": {"input_price": 3, "output_price": 7}}
    )
    with pytest.raises(Invalid, match="no price of model 'other'"):
        Profiles.from_settings(named).price("critique", dt.date(2026, 8, 1))
    assert Profiles.from_settings(named).price("planner", dt.date(2026, 8, 1)) == Price(input=3, output=7)


def test_half_a_price_is_none(book: Path) -> None:
    half = Settings(price_book=book, slm_profiles={"planner": {"output_price": 7}})
    with pytest.raises(Invalid, match="'planner' names one price of two"):
        Profiles.from_settings(half).price("planner", dt.date(2026, 8, 1))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("currency: USD", "currency: EUR", "currency: Input should be 'USD'"),
        ("currency: USD", "", "currency: Field required"),
        ("input: 120000", "input: -1", "0.input: Input should be greater than or equal to 0"),
        ("input: 120000", "input: 0.5", "0.input: Input should be a valid integer"),
        ("input: 120000", f"input: {2**53}", "input: 9007199254740992 is beyond what JSON carries exactly"),
        ("input: 120000", 'input: "120000"', "0.input: Input should be a valid integer"),
        ("from: 2026-07-01", "from: yesterday", "0.from: Input should be a valid date"),
        ("from: 2026-07-01", "from: 2026-01-01", "two entries begin on the same day"),
        ("output: 480000", "output: 480000, cached: 1", "0.cached: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_price_is_refused_with_its_field(book: Path, old: str, new: str, named: str) -> None:
    assert old in BOOK
    book.write_text(BOOK.replace(old, new, 1))
    with pytest.raises(Invalid) as caught:
        load_prices(book)
    assert named in caught.value.message
    assert book.name in caught.value.message


def test_a_book_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        load_prices(tmp_path / "none.yaml")


def test_a_book_has_a_digest_of_what_it_says(book: Path) -> None:
    first = load_prices(book).digest()
    book.write_text(BOOK + "# a comment\n")
    assert load_prices(book).digest() == first
    book.write_text(BOOK.replace("480000", "480001"))
    assert load_prices(book).digest() != first
