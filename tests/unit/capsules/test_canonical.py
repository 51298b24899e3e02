"""Canonical JSON is RFC 8785's, by whichever encoder it was written."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from capsules.digest import EXACT, canonical, digest

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-EXACT, EXACT)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_both_encoders_write_the_same_bytes(value: object) -> None:
    try:
        expected = rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        with pytest.raises(ValueError):  # noqa: PT011 - each encoder has its own words
            canonical(value)
        return
    assert canonical(value) == expected


@given(st.dictionaries(st.text(), st.integers(-EXACT, EXACT)))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    try:
        assert digest(value) == digest(dict(reversed(value.items())))
    except ValueError:
        assert any("\ud800" <= c <= "\udfff" for key in value for c in key)


@pytest.mark.parametrize("value", [EXACT + 1, -EXACT - 1, float("nan"), float("inf"), {1: 2}, {"a": object()}])
def test_what_json_cannot_carry_exactly_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's words
        canonical(value)


def test_text_is_escaped_as_the_standard_says() -> None:
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f é €'
    assert canonical({"ä": text}) == rfc8785.dumps({"ä": text})
    assert canonical({"a": text}) == rfc8785.dumps({"a": text})


@given(st.floats(1, 10), st.integers(-12, 24), st.sampled_from([1, -1]))
def test_fractions_of_every_size_are_written_as_the_standard_says(digits: float, exponent: int, sign: int) -> None:
    for value in (sign * digits * 10.0**exponent, sign * 10.0**exponent):
        assert canonical([value]) == rfc8785.dumps([value])


def test_zero_has_no_sign() -> None:
    assert canonical([-0.0, 0.0, 1.0]) == b"[0,0,1]"
