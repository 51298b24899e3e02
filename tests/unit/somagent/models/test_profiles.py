"""Roles, prices and estimates: arithmetic, no server."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from capsules.models.chat import Price
from somagent.models.profiles import Profiles
from somagent.settings import Settings

TOKENS = st.integers(0, 10**9)


def test_every_role_has_the_local_model_unless_it_is_named():
    settings = Settings(
        slm_api_key="for-the-local-one",
        slm_profiles={"critique": {"model": "larger", "base_url": "http://127.0.0.1:9/v1", "input_price": 150_000}},
    )
    profiles = Profiles.from_settings(settings)
    assert profiles.of("dialogue") == profiles.default
    assert profiles.default.window == 4096
    assert profiles.of("critique").model == "larger"
    assert profiles.of("critique").api_key is None, "a key is never sent to another address than its own"


def test_an_unknown_field_of_a_profile_is_refused():
    with pytest.raises(ValidationError, match="contekst"):
        Profiles.from_settings(Settings(slm_profiles={"critique": {"contekst": 1}}))


def test_an_unknown_provider_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"provider\n  Input should be 'openai-compatible'"):
        Profiles.from_settings(Settings(slm_profiles={"critique": {"provider": "telepathy"}}))


@given(TOKENS, TOKENS)
def test_a_cost_is_whole_and_never_below_the_price(read: int, written: int):
    price = Price(input=150_000, output=600_000)
    exact = read * 150_000 + written * 600_000
    cost = price.cost(input_tokens=read, output_tokens=written)
    assert exact <= cost * 1_000_000 < exact + 1_000_000


def test_the_local_model_costs_nothing():
    price = Profiles.from_settings(Settings()).price("dialogue", dt.date(2026, 1, 1))
    assert price.cost(input_tokens=10**9, output_tokens=10**9) == 0
