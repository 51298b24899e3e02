"""Cron lines: what is taken and what is refused, by field."""

import pytest

from somagent.capsule_files.cron import cron_problem


@pytest.mark.parametrize(
    "line", ["* * * * *", "0 7 * * 1", "*/15 8-18 1,15 jan-jun mon-fri", "5/10 0 31 12 7", "0 0 * * sun"]
)
def test_a_good_line_has_no_problem(line: str) -> None:
    assert cron_problem(line) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "0 fields"),
        ("0 7 * *", "4 fields"),
        ("60 * * * *", "minute: expected 0 to 59"),
        ("* 24 * * *", "hour: expected 0 to 23"),
        ("* * 0 * *", "day of month: expected 1 to 31"),
        ("* * * 13 *", "month: expected 1 to 12 or jan to dec"),
        ("* * * * 8", "day of week: expected 0 to 7"),
        ("* * * * fun", "day of week"),
        ("9-5 * * * *", "backwards"),
        ("*/0 * * * *", "never comes"),
        ("a-b-c * * * *", "a range, a list or a step"),
    ],
)
def test_a_bad_line_is_told_by_its_field(line: str, says: str) -> None:
    assert says in str(cron_problem(line))
