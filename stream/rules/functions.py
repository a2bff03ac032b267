"""What expressions are made of: comparisons, arithmetic and functions, each on whole columns."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stream.rules.truth import Truth, predicate

Kind = Literal["number", "string", "condition"]


def _apart(a: Any, b: Any) -> Any:
    """Both known and not equal (``!=`` alone holds where one is NaN)."""
    return np.less(a, b) | np.greater(a, b)


def _compared(true: Callable[..., Any], false: Callable[..., Any]) -> Callable[..., Truth]:
    return lambda a, b: Truth(true(a, b), false(a, b))


COMPARISONS: dict[type[ast.cmpop], Callable[..., Truth]] = {
    ast.Lt: _compared(np.less, np.greater_equal),
    ast.LtE: _compared(np.less_equal, np.greater),
    ast.Gt: _compared(np.greater, np.less_equal),
    ast.GtE: _compared(np.greater_equal, np.less),
    ast.Eq: _compared(np.equal, _apart),
    ast.NotEq: _compared(_apart, np.equal),
}


def among(constants: list[float]) -> Callable[..., Truth]:
    """``a in [...]`` of numbers."""

    def found(a: Any) -> Truth:
        true = np.logical_or.reduce([np.equal(a, each) for each in constants])
        return Truth(true, np.equal(a, a) & np.logical_not(true))

    return found


def _double(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic in float64, whatever the columns hold."""
    return lambda *columns: operation(*columns, dtype=np.float64)


def _by_nonzero(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Division: absent where the divisor is 0."""
    return lambda a, b: np.where(np.equal(b, 0), np.nan, operation(a, b, dtype=np.float64))


def _power(a: Any, b: Any) -> Any:
    """Absent where the result is no finite number."""
    result = np.power(a, b, dtype=np.float64)
    return np.where(np.isfinite(result), result, np.nan)


ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: _double(np.add),
    ast.Sub: _double(np.subtract),
    ast.Mult: _double(np.multiply),
    ast.Div: _by_nonzero(np.divide),
    ast.FloorDiv: _by_nonzero(np.floor_divide),
    ast.Mod: _by_nonzero(np.remainder),
    ast.Pow: _power,
}


def choose_values(condition: Truth, yes: Any, no: Any) -> Any:
    """``yes if condition else no`` of numbers; absent where the condition is unknown."""
    return np.where(condition.true, yes, np.where(condition.false, no, np.nan))


def choose_texts(condition: Truth, yes: Any, no: Any) -> Any:
    """The same of strings; None where absent."""
    return np.where(condition.true, _text(yes), np.where(condition.false, _text(no), _text(None)))


def _text(value: Any) -> Any:
    return np.asarray(value, dtype=object)


def _smallest(*columns: Any) -> Any:
    result = columns[0]
    for column in columns[1:]:
        result = np.minimum(result, column)
    return result


def _largest(*columns: Any) -> Any:
    result = columns[0]
    for column in columns[1:]:
        result = np.maximum(result, column)
    return result


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the expression language."""

    takes: tuple[Kind, ...]
    gives: Kind
    run: Callable[..., Any]
    form: str
    more: bool = False  # the last argument may be repeated


FUNCTIONS: dict[str, Function] = {
    "abs": Function(("number",), "number", np.abs, "abs(x)"),
    "round": Function(("number",), "number", np.rint, "round(x)"),
    "min": Function(("number", "number"), "number", _smallest, "min(x, y, ...)", more=True),
    "max": Function(("number", "number"), "number", _largest, "max(x, y, ...)", more=True),
    "startswith": Function(("string", "string"), "condition", predicate(str.startswith), 'startswith(stream, "press")'),
    "endswith": Function(("string", "string"), "condition", predicate(str.endswith), 'endswith(stream, "/temp")'),
    "contains": Function(("string", "string"), "condition", predicate(str.__contains__), 'contains(stream, "temp")'),
    "matches": Function(("string", "string"), "condition", predicate(str.__eq__), 'matches(stream, "press[0-9]+/.*")'),
}
