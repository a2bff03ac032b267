"""Durations: text to nanoseconds and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.durations import LONGEST, format_duration, parse_duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("250ms", 250_000_000),
        ("30s", 30 * SECOND),
        ("5m", 300 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("2d", 172_800 * SECOND),
        ("1w", 604_800 * SECOND),
        ("1.5s", 1_500_000_000),
        ("10us", 10_000),
        ("10µs", 10_000),
        ("7ns", 7),
        (" 1h 5m ", 3900 * SECOND),
        ("0s", 0),
        ("5", 5 * SECOND),
        (0.25, 250_000_000),
        (90, 90 * SECOND),
    ],
)
def test_durations_are_read_as_people_write_them(text: str | float, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("5 minutes", "write it like"),
        ("-3s", "write it like"),
        ("1m1h", "large to small"),
        ("1m1m", "large to small"),
        (-1, "negative"),
        (float("nan"), "not a duration"),
        (float("inf"), "too long"),
        (1e300, "too long"),
        (10**400, "too long"),
        ("9999999999999d", "too long"),
        (True, "not a duration"),
        ("٣s", "write it like"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str | float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


@given(st.integers(0, LONGEST))
def test_a_formatted_duration_reads_back_the_same(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns
