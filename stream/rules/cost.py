"""What evaluating an expression costs, known when it is loaded.

The unit is one arithmetic operation on one number, for each stream and step: about a nanosecond on a core of 2024.
What depends on names alone is worked out once for each stream, and costs nothing here.
"""

from __future__ import annotations

import ast

from stream.rules.functions import FUNCTIONS
from stream.rules.grouped import GROUPED
from stream.rules.over import OVER
from stream.rules.source import Source

COSTLY = 500  # from here on `heed rules check` says so
MOST = 5_000  # more is refused
_TEXT = 400  # a function of strings that change from step to step, for each stream
_STAT = 60  # a stretch of a full ring, by blocks: 2 * sqrt(720)
_KEEP = 15  # to keep one argument over time
_GROUP, _RANK = 15, 120
_BY_NAME = {"stream", "group", "labels"}


def cost(node: ast.AST) -> int:
    """Units of one node and all below it."""
    return 0 if _by_name(node) else _own(node) + sum(cost(child) for child in ast.iter_child_nodes(node))


def _by_name(node: ast.AST) -> bool:
    """Whether a part depends on constants and names alone."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names <= _BY_NAME | set(FUNCTIONS)


def _own(node: ast.AST) -> int:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id)
    if isinstance(node, ast.Compare):
        return sum(_TEXT if _text(each) else 2 for each in node.comparators)
    if isinstance(node, ast.Pow):
        return 30
    return 4 if isinstance(node, ast.IfExp) else int(isinstance(node, ast.operator | ast.boolop | ast.Name))


def _text(node: ast.expr) -> bool:
    """Whether strings are compared; a span inside of a call is none of them."""
    sides = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    return any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in sides)


def _call(name: str) -> int:
    if name in OVER:
        return _KEEP + _STAT * len(OVER[name].stats)
    if name in GROUPED:
        return _RANK if GROUPED[name].each else _GROUP
    return _TEXT if name in FUNCTIONS and FUNCTIONS[name].takes[0] == "string" else 3


def checked_cost(source: Source) -> int:
    """The cost of an expression; raises ExpressionError where it is more than allowed."""
    found = cost(source.tree)
    if found > MOST:
        said = f"this would cost {found:,} operations for each stream and step, at most {MOST:,} are allowed"
        raise source.error(source.tree, said)
    return found
