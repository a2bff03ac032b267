"""Conditions that can never be true, or never false, are found; those that can be are left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.rulecheck.ranges import NAMES, Range, range_of
from stream.rulecheck.reach import unreachable
from stream.rules.columns import Observed
from stream.rules.expression import compile_expression
from stream.rules.source import Source

NEVER = [
    ("p < 0", "p lies between 0 and 1"),
    ("p > 1", "p lies between 0 and 1"),
    ("coverage > 1 and value > 3", "coverage lies between 0 and 1"),
    ("1 < coverage", "coverage"),
    ("imputed >= 1.01", "imputed"),
    ("age < 0", "age is never below 0"),
    ("flat + silent < 0", "can never be true"),
    ("-p > 0", "can never be true"),
    ("p * 2 > 3", "can never be true"),
    ("abs(value) < 0", "can never be true"),
    ("max(p, 2) < 1", "can never be true"),
    ("min(p, 0.5) > 0.5", "can never be true"),
    ("p in [2, 3]", "can never be true"),
    ('fidelity == "ful"', "did you mean `full`?"),
    ('"ful" == fidelity', "did you mean `full`?"),
    ('fidelity in ["x", "y"]', "one of sentinel, lite, full"),
    ("value > 5 and value < 3", "the bounds of `value` exclude each other"),
    ("value > 5 and (score > 1 and value <= 5)", "exclude each other"),
    ("3 > value > 5", "exclude each other"),
    ("value > 3 and value == 2", "exclude each other"),
    ('group == "a" and group == "b"', "exclude each other"),
    ("not (p <= 1)", "can never be true"),
    ("value / 0 > 3", "divides by 0"),
    ("False", "can never be true"),
    ("2 < 1", "can never be true"),
    ("avg_over(p, '5m') > 1", "can never be true"),
    ("group_share(score > 1) > 1", "can never be true"),
    ("share_over(value > 3, '5m') < 0", "can never be true"),
    ("group_rank(score) < 1", "can never be true"),
    ("sum_over('flat', '5m') < 0", "can never be true"),
    ("offset('coverage', '1d') > 1", "can never be true"),
    ("value > 1 if p > 2 else coverage > 1", "can never be true"),
]
SUSPECT = [
    "count_over(p > 1, '5m') > 3",
    "p <= 1",
    "score < 0",
    "value > 1 or p < 0",
    'fidelity != "ful"',
    'fidelity in ["full", "lit"]',
    "1 < 2",
]
FINE = [
    "score >= 1",
    "p <= 0",
    "p >= 1",
    "coverage >= 1 and p < 0.5",
    "0 <= value <= 10",
    "value > 3 and value < 5",
    "value >= 3 and value <= 3",
    "value > 3 or value < 1",
    "not (value > 3 and p > 0.5)",
    'fidelity == "full" or fidelity == "lite"',
    'fidelity in ["full", "lite"]',
    'group == "a" or group == "b"',
    'group != "a" and group != "b"',
    "True",
    "value < expected - 3 * (high - low)",
    "abs(value - expected) > 5",
    "(value if p > 0.5 else score) > 1",
    "value % 10 == 3",
    "min(value, 3) > 2",
    "sum_over(value, '5m') < 0",
    "delta('value', '5m') < 0",
    "max_over(p, '5m') > 0.5 and group_share(p > 0.5) >= 1",
]


@pytest.mark.parametrize(("text", "said"), NEVER)
def test_what_can_never_be_true_is_fatal(text: str, said: str) -> None:
    fatal = [found.error.said for found in unreachable(Source(text)) if found.fatal]
    assert fatal
    assert said in fatal[0]


@pytest.mark.parametrize("text", SUSPECT)
def test_what_is_odd_and_still_can_fire_is_only_told(text: str) -> None:
    found = unreachable(Source(text))
    assert [each.fatal for each in found] == [False]


@pytest.mark.parametrize("text", FINE)
def test_what_can_be_is_left_alone(text: str) -> None:
    assert unreachable(Source(text)) == []


def test_the_place_is_that_of_the_comparison() -> None:
    (found,) = unreachable(Source("value > 3\nand p < 0"))
    assert (found.error.line, found.error.column) == (2, 5)
    assert found.error.caret == "  and p < 0\n      ^^^^^"


_TERM = st.sampled_from(
    ["p", "coverage", "value", "flat", "p + flat", "p * 2", "-p", "abs(value)", "max(p, flat)", "p - coverage"]
)
_NUMBER = st.sampled_from(["-1", "0", "0.5", "1", "2"])
_OP = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
_PAIR = st.builds(lambda a, op, b: f"{a} {op} {b}", _TERM, _OP, _NUMBER)
_CONDITION = st.recursive(
    _PAIR,
    lambda inner: st.one_of(
        st.builds(lambda a, w, b: f"({a} {w} {b})", inner, st.sampled_from(["and", "or"]), inner),
        st.builds(lambda a: f"(not {a})", inner),
        st.builds(lambda a, c, b: f"({a} if {c} else {b})", inner, inner, inner),
    ),
    max_leaves=5,
)
_EDGES = np.array([0, 0.25, 0.5, 0.75, 1])


def _rows() -> dict[str, np.ndarray]:
    """Every combination of some values of four columns, within what they can be."""
    p, coverage, value, flat = np.meshgrid(_EDGES, _EDGES, [-2.0, -1, 0, 0.5, 1, 2, 3], [0.0, 0.5, 1, 2, 3])
    return {"p": p.ravel(), "coverage": coverage.ravel(), "value": value.ravel(), "flat": flat.ravel()}


ROWS = _rows()
N = len(ROWS["p"])


class _Names:
    names, groups, labels = ["s"] * N, ["g"] * N, [{}] * N


@settings(max_examples=150, deadline=None)
@given(_CONDITION)
def test_what_is_called_out_of_reach_is_never_true_for_any_row(text: str) -> None:
    if any(found.fatal for found in unreachable(Source(text))):
        observed = Observed(0, 1, np.arange(N, dtype=np.int32), ROWS, np.zeros(N, np.int8))
        assert not compile_expression(text).evaluate(observed, _Names()).true.any()


@settings(max_examples=150, deadline=None)
@given(_TERM)
def test_a_range_holds_every_number_that_a_part_can_be(text: str) -> None:
    found = range_of(Source(text).tree)
    scope = {**ROWS, "abs": np.abs, "max": np.maximum}
    numbers = eval(text, {"__builtins__": {}}, scope)  # the tests' own text
    assert (numbers >= found.low).all()
    assert (numbers <= found.high).all()


def test_every_name_with_a_range_is_known_to_be_a_share_or_not_negative() -> None:
    assert set(NAMES.values()) == {Range(0, 1), Range(0, math.inf)}
