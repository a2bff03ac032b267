"""Expressions on columns against a plain interpreter that walks the same syntax tree, row by row."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# -- the plain interpreter: None = unknown or absent


def plain(node: ast.expr, row: Mapping[str, Any]) -> Any:  # noqa: C901 - one case for each form
    match node:
        case ast.Constant(value=value):
            return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        case ast.Name(id=name):
            return row[name]
        case ast.Subscript(slice=ast.Constant(value=name)):
            return row["labels"].get(name, "")
        case ast.BoolOp(op=op, values=values):
            return plain_logic(isinstance(op, ast.And), [plain(value, row) for value in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value = plain(operand, row)
            return None if value is None else not value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = plain(operand, row)
            return None if value is None else -value
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            return plain_logic(True, [plain_pair(sides[i], op, sides[i + 1], row) for i, op in enumerate(ops)])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            chosen = plain(test, row)
            return None if chosen is None else plain(body if chosen else orelse, row)
        case ast.BinOp(left=left, op=op, right=right):
            return plain_arithmetic(op, plain(left, row), plain(right, row))
        case ast.Call(func=ast.Name(id=name), args=args):
            return plain_call(name, [plain(arg, row) for arg in args])
    raise AssertionError(ast.dump(node))


def plain_logic(conjunction: bool, values: list[bool | None]) -> bool | None:
    decisive = not conjunction
    if any(value is decisive for value in values):
        return decisive
    return None if None in values else conjunction


def plain_pair(left: ast.expr, op: ast.cmpop, right: ast.expr, row: Mapping[str, Any]) -> bool | None:
    a = plain(left, row)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List)
        found = a in [plain(each, row) for each in right.elts]
        return None if a is None else found == isinstance(op, ast.In)
    b = plain(right, row)
    if a is None or b is None:
        return None
    return {
        ast.Lt: lambda: a < b,
        ast.LtE: lambda: a <= b,
        ast.Gt: lambda: a > b,
        ast.GtE: lambda: a >= b,
        ast.Eq: lambda: a == b,
        ast.NotEq: lambda: a != b,
    }[type(op)]()


def plain_arithmetic(op: ast.operator, a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    try:
        result = {
            ast.Add: lambda: a + b,
            ast.Sub: lambda: a - b,
            ast.Mult: lambda: a * b,
            ast.Div: lambda: a / b,
            ast.FloorDiv: lambda: a // b,
            ast.Mod: lambda: a % b,
        }[type(op)]()
    except ZeroDivisionError:
        return None
    return None if math.isnan(result) else result


def plain_call(name: str, args: list[Any]) -> Any:
    if None in args:
        return None
    return {
        "abs": abs,
        "round": lambda x: x if math.isinf(x) else float(round(x)),
        "min": min,
        "max": max,
        "startswith": str.startswith,
        "endswith": str.endswith,
        "contains": lambda text, part: part in text,
    }[name](*args)


# -- expressions at random

NUMBER_NAMES = ("score", "value", "expected", "p", "age")
TEXTS = ("a", "b", "ab", "full", "lite", "")
CONSTANTS = ("0", "1", "2", "0.5", "1e300", "3.25", "-1")
LEAVES = {
    "N": (*CONSTANTS, *NUMBER_NAMES),
    "S": (*map(repr, TEXTS), "stream", "group", "fidelity", 'labels["x"]', 'labels["y"]'),
    "C": ("True", "False", "(score > 1)", "(value <= expected)", "(p == 0)"),
}
FORMS = {  # N, S, C: a number, a string, a condition; n, s: constants; =, ?: comparisons; i: in, not in
    "N": (
        "(N + N)", "(N - N)", "(N * N)", "(N / N)", "(N // N)", "(N % N)", "(-N)",
        "abs(N)", "round(N)", "min(N, N)", "max(N, N, N)", "(N if C else N)",
    ),
    "S": ("(S if C else S)",),
    "C": (
        "(N ? N)", "(N ? N ? N)", "(S = S)", "(S i [s, s])", "(N i [n, n])", "(C and C)", "(C or C or C)",
        "((C) = (C))", "(not C)", "(C if C else C)", "startswith(S, S)", "endswith(S, S)", "contains(S, S)",
    ),
}  # fmt: skip
SIGNS = {
    "n": CONSTANTS,
    "s": tuple(map(repr, TEXTS)),
    "?": ("<", "<=", ">", ">=", "==", "!="),
    "=": ("==", "!="),
    "i": ("in", "not in"),
}
SLOT = re.compile(r"(?<!\w)[NSCns?=i](?!\w)")


@st.composite
def expressions(draw: st.DrawFn, kind: str = "C", depth: int = 4) -> str:
    """A text of a given kind, nested at most ``depth`` levels."""
    form: str = draw(st.sampled_from(LEAVES[kind] if depth == 0 else LEAVES[kind] + 3 * FORMS[kind]))
    if form in LEAVES[kind]:
        return form

    def filled(slot: re.Match[str]) -> str:
        return draw(st.sampled_from(SIGNS[slot[0]])) if slot[0] in SIGNS else draw(expressions(slot[0], depth - 1))

    return SLOT.sub(filled, form)


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
