"""Time intervals: Alertmanager's shape, judged in their own time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.settings import TimeInterval, from_mapping


def interval(*spans: dict[str, Any]) -> TimeInterval:
    return from_mapping({"time_intervals": [{"name": "a", "time_intervals": list(spans)}]}).time_intervals[0]


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


NIGHT = {"times": [{"start_time": "01:00", "end_time": "05:00"}], "location": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("span", "time", "holds"),
    [
        (NIGHT, "2026-01-10T00:00:00", True),  # 01:00 in Berlin, winter
        (NIGHT, "2026-01-10T03:59:59", True),
        (NIGHT, "2026-01-10T04:00:00", False),
        (NIGHT, "2026-07-10T23:00:00", True),  # 01:00 in Berlin, summer
        (NIGHT, "2026-07-10T22:59:59", False),
        ({"times": [{"start_time": "00:00", "end_time": "24:00"}]}, "2026-07-10T23:59:59", True),
        ({"weekdays": ["monday:friday", "sunday"]}, "2026-11-21T12:00:00", False),  # a Saturday
        ({"weekdays": ["monday:friday", "sunday"]}, "2026-11-22T12:00:00", True),
        ({"weekdays": ["saturday"], "months": ["november"]}, "2026-11-21T12:00:00", True),
        ({"weekdays": ["saturday"], "months": [1, "2:3"]}, "2026-11-21T12:00:00", False),
        ({"days_of_month": ["-2:-1"]}, "2024-02-28T00:00:00", True),  # a leap year
        ({"days_of_month": ["-2:-1"]}, "2024-02-27T00:00:00", False),
        ({"days_of_month": ["30:-1"]}, "2026-02-28T00:00:00", False),
        ({"years": [2026, "2030:2031"]}, "2026-02-28T00:00:00", True),
        ({"years": [2026, "2030:2031"]}, "2029-02-28T00:00:00", False),
        ({}, "2029-02-28T00:00:00", True),
    ],
)
def test_a_time_lies_in_a_span_where_all_that_is_given_holds(span: dict[str, Any], time: str, holds: bool) -> None:
    assert interval(span).holds(ns(time)) is holds


def test_any_span_of_an_interval_is_enough() -> None:
    both = interval({"weekdays": ["monday"]}, {"weekdays": ["tuesday"]})
    assert [both.holds(ns(f"2026-11-{day}T12:00:00")) for day in (23, 24, 25)] == [True, True, False]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9 * 10**18), st.integers(0, 23), st.integers(0, 59))
def test_a_day_cut_in_two_is_covered_once_at_every_time(time: int, hour: int, minute: int) -> None:
    cut = f"{hour:02}:{max(minute, 1):02}"
    early = interval({"times": [{"start_time": "00:00", "end_time": cut}], "location": "America/New_York"})
    late = interval({"times": [{"start_time": cut, "end_time": "24:00"}], "location": "America/New_York"})
    assert early.holds(time) != late.holds(time)
