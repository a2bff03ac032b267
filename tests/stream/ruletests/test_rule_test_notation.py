"""promtool's notation, expanded as its documentation says; what it can't say is told with its place."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.ruletests.notation import NotationError, read_series, read_values, written

_ = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1+1x5", [1, 2, 3, 4, 5, 6]),
        ("1-2x3", [1, -1, -3, -5]),
        ("-2+4x3", [-2, 2, 6, 10]),
        (" 1-2x4", [1, -1, -3, -5, -7]),
        ("1x4", [1, 1, 1, 1, 1]),
        ("0x3", [0, 0, 0, 0]),
        ("1x0", [1]),
        ("_", [_]),
        ("_x3", [_, _, _]),
        ("4 _x2 5", [4, _, _, 5]),
        ("1.5 .5 -2.5e1 +3", [1.5, 0.5, -25, 3]),
        ("0.5-.25x2", [0.5, 0.25, 0]),
        ("Inf -Inf inf", [math.inf, -math.inf, math.inf]),
        ("NaN", [_]),
        ("1\n  2\t3", [1, 2, 3]),
    ],
)
def test_values_expand_as_in_promtool(text: str, expected: list[float | None]) -> None:
    found = read_values(text)
    assert [None if math.isnan(number) else number for number in found.value.tolist()] == expected
    assert not found.stale.any()


def test_a_blank_says_nothing_and_an_unknown_number_does() -> None:
    assert read_values("_ NaN 1 _x2").given.tolist() == [False, True, True, False, False]


def test_a_series_can_end_and_begin_again() -> None:
    found = read_values("1 stale _ 2")
    assert found.stale.tolist() == [False, True, False, False]


def test_fidelity_is_given_by_name() -> None:
    assert read_values("full sentinelx1 lite", words=True).value.tolist() == [3, 1, 1, 2]
    with pytest.raises(NotationError):
        read_values("full")


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", 0, "no values"),
        ("1 2 three", 4, "`three` is no value"),
        ("1x", 0, "`1x`"),
        ("1+1", 0, "`1+1`"),
        ("_+1x3", 0, "`_+1x3`"),
        ("1,2", 0, "`1,2`"),
        ("{{schema:1}}x3", 0, "histograms"),
        ("1 1x999999999", 2, "more than 100,000"),
        ("1x60000 1x60000", 8, "more than 100,000"),
    ],
)
def test_what_is_no_value_is_told_with_its_place(text: str, at: int, said: str) -> None:
    with pytest.raises(NotationError, match=re.escape(said)) as error:
        read_values(text)
    assert error.value.at == at


@given(st.integers(-1000, 1000), st.integers(-50, 50), st.integers(0, 200))
def test_a_run_has_one_sample_more_than_it_says(start: int, by: int, n: int) -> None:
    sign = "+" if by >= 0 else "-"
    assert read_values(f"{start}{sign}{abs(by)}x{n}").value.tolist() == [start + by * i for i in range(n + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('value{stream="a/b", group="g"}', ("value", {"stream": "a/b", "group": "g"})),
        ("up", ("up", {})),
        ("up{}", ("up", {})),
        ('up{a="b",}', ("up", {"a": "b"})),
        ('{__name__="up", a="b"}', ("up", {"a": "b"})),
        ('{"up", a="b"}', ("up", {"a": "b"})),
        ("job:x:rate5m{a='b', c=`d\\e`}", ("job:x:rate5m", {"a": "b", "c": "d\\e"})),
        (r'up{a="say \"hi\""}', ("up", {"a": 'say "hi"'})),
        ('up{a="{x, y}"}', ("up", {"a": "{x, y}"})),
    ],
)
def test_series_are_written_as_prometheus_writes_them(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert read_series(text) == expected


@pytest.mark.parametrize("text", ["", "a b", "up{", 'up{a=~"b"}', 'up{a="b" c="d"}', 'up{a="b", a="c"}', "up{a}", "5"])
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(NotationError):
        read_series(text)


_NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name != "__name__")
_PLAIN = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs"), exclude_characters='"\\'), max_size=8)


@given(_NAME, st.dictionaries(_NAME, _PLAIN, max_size=4))
def test_a_series_that_is_written_is_read_back(name: str, labels: dict[str, str]) -> None:
    assert read_series(written(name, labels)) == (name, labels)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_series, read_values):
        try:
            read(text)
        except NotationError as error:
            assert 0 <= error.at <= len(text)
