"""What the parts of an expression can be at all: an interval for a number, whether a condition can be true or false."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from math import inf, isfinite
from typing import NamedTuple

from stream.rules.source import ExpressionError, Source


class Range(NamedTuple):
    """A closed interval; ``low`` > ``high`` = there is no such number."""

    low: float
    high: float


ANY, SHARE, POSITIVE = Range(-inf, inf), Range(0, 1), Range(0, inf)
NOTHING = Range(inf, -inf)
NAMES: dict[str, Range] = {
    "p": SHARE, "coverage": SHARE, "imputed": SHARE,
    "score": POSITIVE, "age": POSITIVE, "rate": POSITIVE, "silent": POSITIVE, "flat": POSITIVE,
}  # fmt: skip
SOFT = ("score",)  # a model may say a little less than 0
_AS_ARGUMENT = ("avg_over", "min_over", "max_over", "last_over", "offset", "group_avg", "group_min", "group_max")
_SUMS = ("sum_over", "group_sum")
_FUNCTIONS: dict[str, Range] = {
    "share_over": SHARE, "group_share": SHARE, "count_over": POSITIVE, "group_count": POSITIVE,
    "group_rank": Range(1, inf), "stddev_over": POSITIVE,
}  # fmt: skip


def range_of(node: ast.expr) -> Range:
    """The numbers that a part can be; ANY where nothing is known."""
    match node:
        case ast.Constant(value=bool() | str()):
            return ANY
        case ast.Constant(value=int() | float()):
            return Range(float(node.value), float(node.value))  # type: ignore[arg-type]
        case ast.Name():
            return NAMES.get(node.id, ANY)
        case ast.UnaryOp(op=ast.USub()):
            inner = range_of(node.operand)
            return Range(-inner.high, -inner.low)
        case ast.UnaryOp(op=ast.UAdd()):
            return range_of(node.operand)
        case ast.BinOp():
            return _arithmetic(node)
        case ast.IfExp():
            return _joined(range_of(node.body), range_of(node.orelse))
        case ast.Call(func=ast.Name()):
            return _called(node)
    return ANY


def _joined(*ranges: Range) -> Range:
    return Range(min(each.low for each in ranges), max(each.high for each in ranges))


def _arithmetic(node: ast.BinOp) -> Range:
    left, right = range_of(node.left), range_of(node.right)
    if isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod) and right == Range(0, 0):
        return NOTHING
    if not all(isfinite(end) for end in (*left, *right)):
        return _half_open(node.op, left, right)
    if isinstance(node.op, ast.Add):
        return Range(left.low + right.low, left.high + right.high)
    if isinstance(node.op, ast.Sub):
        return Range(left.low - right.high, left.high - right.low)
    if isinstance(node.op, ast.Mult):
        ends = [a * b for a in left for b in right]
        return Range(min(ends), max(ends))
    return ANY


def _half_open(op: ast.operator, left: Range, right: Range) -> Range:
    """Sums and products of what is never below 0 are not either."""
    if left.low >= 0 and right.low >= 0 and isinstance(op, ast.Add | ast.Mult | ast.Div):
        return Range(left.low + right.low if isinstance(op, ast.Add) else 0, inf)
    return ANY


def _called(node: ast.Call) -> Range:
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    if not node.args:
        return ANY
    ranges = [range_of(each) for each in node.args]
    if name == "abs":
        ends = sorted((abs(ranges[0].low), abs(ranges[0].high)))
        return Range(0 if ranges[0].low <= 0 <= ranges[0].high else ends[0], ends[1])
    if name in ("min", "max"):
        choose = min if name == "min" else max
        return Range(choose(each.low for each in ranges), choose(each.high for each in ranges))
    if name in _AS_ARGUMENT:
        return range_of(kept(node.args[0]))
    return POSITIVE if name in _SUMS and range_of(kept(node.args[0])).low >= 0 else ANY


def kept(node: ast.expr) -> ast.expr:
    """What a function over time is about: its argument, or the expression in the text that it is given as."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return Source(node.value).tree
        except ExpressionError:
            return node
    return node


class Possible(NamedTuple):
    """Whether a condition can be true, and whether it can be false, where all that it asks for is known."""

    true: bool
    false: bool


_LESS: dict[type[ast.cmpop], tuple[Callable[[float, float], bool], bool]] = {
    ast.Lt: (operator.lt, False), ast.LtE: (operator.le, False),
    ast.Gt: (operator.lt, True), ast.GtE: (operator.le, True),
}  # fmt: skip
_NOT: dict[Callable[[float, float], bool], Callable[[float, float], bool]] = {
    operator.lt: operator.le, operator.le: operator.lt,
}  # fmt: skip


def compared(op: ast.cmpop, left: Range, right: Range) -> Possible:
    """What ``left op right`` of two numbers can be."""
    if NOTHING in (left, right):
        return Possible(False, False)
    if type(op) in _LESS:
        less, turned = _LESS[type(op)]
        a, b = (right, left) if turned else (left, right)
        return Possible(less(a.low, b.high), _NOT[less](b.low, a.high))
    meet = left.low <= right.high and right.low <= left.high
    same = left == right and left.low == left.high
    equal = Possible(meet, not same)
    return equal if isinstance(op, ast.Eq) else Possible(equal.false, equal.true)
