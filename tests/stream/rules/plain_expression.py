"""A plain interpreter of rule expressions that walks the syntax tree row by row, and expressions at random."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

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
        case ast.Call(func=ast.Name(id=name), args=[argument, ast.Constant(value=span)]) if name in OVER:
            return plain_over(name, argument, int(span.removesuffix("s")), row)
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in GROUPED:
            found = [plain(argument, mate) for mate in row["mates"]]
            return plain_grouped(name, plain(argument, row), [each for each in found if each is not None])
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


# A row's "past" are the rows of its stream before it, by number of the step ("k"); its "mates" those of its group.
OVER = ("sum_over", "min_over", "max_over", "last_over", "delta", "count_over", "offset", "absent_for")
GROUPED = ("group_max", "group_min", "group_sum", "group_count", "group_rank")


def plain_over(name: str, argument: ast.expr, n: int, row: Mapping[str, Any]) -> Any:
    past = [plain(argument, each) for each in row["past"] if each["k"] > row["k"] - n]
    now, known = plain(argument, row), [each for each in past if each is not None]
    if name == "absent_for":
        run = 0 if now is not None else 1
        everything = [plain(argument, each) for each in row["past"]]
        while run and run <= len(everything) and everything[-run] is None:
            run += 1
        return True if run >= n else False if now is not None or any(x is not None for x in everything) else None
    if name == "offset":
        return next((plain(argument, each) for each in row["past"] if each["k"] == row["k"] - n), None)
    if name == "delta":
        return None if now is None or not known else now - known[0]
    known += [] if now is None else [now]
    last = {"sum_over": sum, "min_over": min, "max_over": max, "count_over": sum, "last_over": lambda all: all[-1]}
    return float(last[name](known)) if known else None


def plain_grouped(name: str, own: float | None, known: list[float]) -> float | None:
    if name == "group_rank":
        return None if own is None else 1.0 + sum(each > own for each in known)
    if not known:
        return None
    return float({"group_max": max, "group_min": min, "group_sum": sum, "group_count": sum}[name](known))


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
WIDER = {  # W: a number kept over time, of values that float32 holds exactly
    "N": (
        *FORMS["N"], "sum_over(W, T)", "min_over(W, T)", "max_over(W, T)", "last_over(W, T)", "delta(W, T)",
        "offset(W, T)", "count_over(C, T)", "group_max(N)", "group_min(N)", "group_sum(W)", "group_count(C)",
        "group_rank(N)",
    ),
    "S": FORMS["S"],
    "C": (*FORMS["C"], "absent_for(W, T)"),
    "W": ("(W + W)", "min(W, W)", "(W if C else W)", "group_max(W)", "max_over(W, T)", "count_over(C, T)"),
}  # fmt: skip
LEAVES["W"] = ("value", "expected", "score", "0.5")
SIGNS["T"] = ('"1s"', '"2s"', '"3s"', '"7s"')
SLOT = re.compile(r"(?<!\w)[NSCWTns?=i](?!\w)")


@st.composite
def expressions(draw: st.DrawFn, kind: str = "C", depth: int = 4, wider: bool = False) -> str:
    """A text of a given kind, nested at most ``depth`` levels."""
    forms = WIDER if wider else FORMS
    form: str = draw(st.sampled_from(LEAVES[kind] if depth == 0 else LEAVES[kind] + 3 * forms[kind]))
    if form in LEAVES[kind]:
        return form

    def filled(slot: re.Match[str]) -> str:
        return (
            draw(st.sampled_from(SIGNS[slot[0]])) if slot[0] in SIGNS else draw(expressions(slot[0], depth - 1, wider))
        )

    return SLOT.sub(filled, form)
