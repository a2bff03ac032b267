"""Expressions on columns against a plain interpreter that walks the same syntax tree, row by row."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_expression import NUMBER_NAMES, TEXTS, expressions, plain

from stream.rules.columns import FIDELITIES, Observed
from stream.rules.expression import compile_expression

SECOND = 1_000_000_000


@dataclass
class Table:
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)

    def add(self, name: str, group: str = "", labels: Mapping[str, str] | None = None) -> None:
        self.names.append(name)
        self.groups.append(group)
        self.labels.append(labels or {})


ROWS = 6
values = st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5, -2.5, 3.25, 1e300, -1e300, math.inf, math.nan, math.nan])
columns = st.lists(values, min_size=ROWS, max_size=ROWS)
rows_of_text = st.lists(st.sampled_from(TEXTS), min_size=ROWS, max_size=ROWS)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Table, Observed]:
    table = Table()
    for name, group, label in zip(draw(rows_of_text), draw(rows_of_text), draw(rows_of_text), strict=True):
        table.add(name, group, {"x": label} if label else {})
    numbers = {name: np.array(draw(columns)) for name in draw(st.sets(st.sampled_from(NUMBER_NAMES)))}
    slots = np.array(draw(st.permutations(range(ROWS)))[: draw(st.integers(0, ROWS))], np.int32)
    numbers = {name: column[: len(slots)] for name, column in numbers.items()}
    fidelity = np.array(draw(st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS)), np.int8)[: len(slots)]
    return table, Observed(0, SECOND, slots, numbers, fidelity)


def row_of(table: Table, observed: Observed, i: int) -> dict[str, Any]:
    slot = observed.slots[i]
    numbers: dict[str, Any] = {}
    for name in NUMBER_NAMES:
        value = float(observed.numbers[name][i]) if name in observed.numbers else math.nan
        numbers[name] = None if math.isnan(value) else value
    texts = {"stream": table.names[slot], "group": table.groups[slot], "labels": table.labels[slot]}
    return {**numbers, **texts, "fidelity": FIDELITIES[observed.fidelity[i]] or None}


@settings(max_examples=500, deadline=None)
@given(expressions(), worlds())
def test_columns_agree_with_python_row_by_row(text: str, world: tuple[Table, Observed]) -> None:
    table, observed = world
    expression = compile_expression(text)
    tree = ast.parse(text, mode="eval").body
    for _again in range(2):  # the second time from what was remembered
        truth = expression.evaluate(observed, table)
        told = [True if t else False if f else None for t, f in zip(truth.true, truth.false, strict=True)]
        assert told == [plain(tree, row_of(table, observed, i)) for i in range(len(observed.slots))], text


small = st.sampled_from([None, 0.0, 1.0, 2.0, -1.0, 0.5, -2.5, 3.25])
NAMED = ("value", "expected", "score", "p", "age")
streams_of_a_step = st.lists(st.one_of(st.none(), st.tuples(*[small] * len(NAMED))), min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(expressions(depth=3, wider=True), st.lists(streams_of_a_step, min_size=1, max_size=9))
def test_the_past_and_the_group_agree_with_python_row_by_row(text: str, story: list[list[Any]]) -> None:
    table = Table()
    for name, group in (("a", "ab"), ("b", "ab"), ("ab", "a"), ("", "a")):
        table.add(name, group, {"x": name})
    expression, tree = compile_expression(text), ast.parse(text, mode="eval").body
    past: list[list[dict[str, Any]]] = [[] for _ in range(4)]
    for k, step in enumerate(story):
        rows = {slot: row_at(k, slot, said, table, past[slot]) for slot, said in enumerate(step) if said is not None}
        for row in rows.values():
            row["mates"] = [other for other in rows.values() if other["group"] == row["group"]]
        slots = np.array(sorted(rows), np.int32)
        columns = {
            name: np.array([math.nan if rows[i][name] is None else rows[i][name] for i in rows]) for name in NAMED
        }
        observed = Observed(k * SECOND, (k + 1) * SECOND, slots, columns, np.full(len(slots), 2, np.int8))
        truth = expression.evaluate(observed, table)
        told = [True if t else False if f else None for t, f in zip(truth.true, truth.false, strict=True)]
        assert told == [plain(tree, row) for row in rows.values()], (text, k)
        for slot, row in rows.items():
            past[slot].append(row)


def row_at(k: int, slot: int, said: Any, table: Table, past: list[dict[str, Any]]) -> dict[str, Any]:
    texts = {"stream": table.names[slot], "group": table.groups[slot], "labels": table.labels[slot], "fidelity": "lite"}
    return {**dict(zip(NAMED, said, strict=True)), **texts, "k": k, "past": list(past)}


# -- single cases


def streams(*names: str) -> Table:
    table = Table()
    for name in names:
        table.add(name, name.split("/")[0], {"site": "berlin"} if name.startswith("press") else {})
    return table


PLANT = streams("press1/temp", "press2/temp", "mill/load")


def told(text: str, **numbers: list[float]) -> str:
    """One letter for each of the plant's three streams: T, F or ?."""
    columns = {name: np.array(column, np.float32) for name, column in numbers.items()}
    observed = Observed(0, SECOND, np.arange(3, dtype=np.int32), columns, np.array([3, 1, 0], np.int8))
    truth = compile_expression(text).evaluate(observed, PLANT)
    return "".join("T" if t else "F" if f else "?" for t, f in zip(truth.true, truth.false, strict=True))


NAN = math.nan


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("score >= 1", "TF?"),
        ("not score >= 1", "FT?"),
        ("score != 5", "TT?"),
        ("expected > 0", "???"),
        ("score > 0 or expected > 0", "TT?"),
        ("score > 5 and expected > 0", "FF?"),
        ("score / 0 > 1", "???"),
        ("0.2 < score < 1", "FT?"),
        ("score in [0.5, 7]", "FT?"),
        ("score not in [0.5, 7]", "TF?"),
        ("2 ** score > 3", "TF?"),
        ("(0 - 1) ** 0.5 > score", "???"),
        ("fidelity == 'full'", "TF?"),
        ("fidelity in ['lite', 'full'] or stream == 'mill/load'", "TFT"),
        ('labels["site"] == "berlin"', "TTF"),
        ('labels["site"] != "berlin"', "FFT"),
        ('group == "mill" or score > 1', "TFT"),
        ('matches(stream, "press[0-9]/.*")', "TTF"),
        ('matches(stream, "press")', "FFF"),
        (r'matches(stream, "press\d/temp")', "TTF"),
        ('contains(stream, "temp") and score > 1', "TFF"),
        ('score > (1 if group == "press1" else 0.1)', "TT?"),
        ("score > 1\n  # a comment\n  and score < 3", "TF?"),
        ("True", "TTT"),
        ("min(score, 1) == 1 and max(score, 0, 4) == 4", "TF?"),
    ],
)
def test_each_form_of_expression_means_what_it_says(text: str, letters: str) -> None:
    assert told(text, score=[2, 0.5, NAN]) == letters


def test_a_float32_column_equals_the_constant_it_was_made_from() -> None:
    assert told("score >= 0.7 and score == 0.7 and score <= 0.7 and score in [0.7]", score=[0.7, 0.7, 0.7]) == "TTT"


def test_float32_columns_do_not_overflow_in_arithmetic() -> None:
    assert told("score * score > 1e60", score=[1e35, 1, 1]) == "TFF"


def test_streams_that_turn_up_later_are_looked_at_once_and_forgotten_ones_anew() -> None:
    table = streams("press1/temp")
    expression = compile_expression('startswith(stream, "press")')
    nothing: dict[str, Any] = {}

    def look() -> list[bool]:
        slots = np.arange(len(table.names), dtype=np.int32)
        observed = Observed(0, SECOND, slots, nothing, np.zeros(len(slots), np.int8))
        return [bool(each) for each in expression.evaluate(observed, table).true]

    assert look() == [True]
    table.add("mill/load")
    assert look() == [True, False]
    table.names[1] = "press9/temp"
    assert look() == [True, False]
    expression.forget([1, 5000])
    assert look() == [True, True]
