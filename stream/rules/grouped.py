"""Functions over the members of a stream's group that are looked at in the same step."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.columns import Rows, Slots
from stream.rules.functions import FUNCTIONS, Function
from stream.rules.truth import Truth

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Members:
    """n rows and their G groups: ``of`` [n] is the group of a row, ``order`` [n] lists the rows group by group."""

    of: npt.NDArray[np.intp]
    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]  # [G], into ``order``

    def added(self, values: Any) -> Floats:
        """Sums [G]; NaN counts as 0."""
        return np.bincount(self.of, np.where(np.isnan(values), 0.0, values)).astype(np.float64)

    def known(self, values: Floats) -> Floats:
        """How many members have a value [G]."""
        return self.added(~np.isnan(values))

    def reduced(self, ufunc: np.ufunc, values: Floats) -> Floats:
        """A ufunc over the members of each group [G]."""
        found: Floats = ufunc.reduceat(values[self.order], self.starts)
        return found


class Together:
    """Which streams belong to one group: a number for each group name, remembered by slot."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of = np.full(0, -1, np.int64)  # by slot
        self._last: tuple[Slots, Members] | None = None

    def members(self, rows: Rows) -> Members:
        """The groups of some rows; at least one row."""
        if self._last is None or not np.array_equal(self._last[0], rows.slots):
            self._last = rows.slots.copy(), self._sorted(rows)
        return self._last[1]

    def _sorted(self, rows: Rows) -> Members:
        top = int(rows.slots.max()) + 1
        if top > len(self._of):
            self._of = np.concatenate([self._of, np.full(max(top, 2 * len(self._of)) - len(self._of), -1)])
        for slot in rows.slots[self._of[rows.slots] < 0].tolist():
            self._of[slot] = self._numbers.setdefault(rows.names.groups[slot], len(self._numbers))
        _, of = np.unique(self._of[rows.slots], return_inverse=True)
        order = np.argsort(of, kind="stable")
        return Members(of, order, np.flatnonzero(np.diff(of[order], prepend=-1)))

    def forget(self, slots: Sequence[int] | Slots) -> None:
        """These slots may be given to streams of other groups."""
        known = np.asarray(slots, np.int64)
        self._of[known[known < len(self._of)]] = -1
        self._last = None
        if len(self._numbers) > 2 * len(self._of):  # names of groups long gone
            self._numbers.clear()
            self._of[:] = -1


def _only_known(members: Members, values: Floats, found: Floats) -> Floats:
    return np.where(members.known(values) > 0, found, np.nan)[members.of]


def _sum(members: Members, values: Floats) -> Floats:
    return _only_known(members, values, members.added(values))


def _average(members: Members, values: Floats) -> Floats:
    """About one value of each group, so that large numbers keep their last digits."""
    near = members.reduced(np.fmin, values)
    found: Floats = (near + members.added(values - near[members.of]) / members.known(values))[members.of]
    return found


def _smallest(members: Members, values: Floats) -> Floats:
    return members.reduced(np.fmin, values)[members.of]


def _largest(members: Members, values: Floats) -> Floats:
    return members.reduced(np.fmax, values)[members.of]


def _share(members: Members, values: Floats) -> Floats:
    found: Floats = (members.added(values) / members.known(values))[members.of]
    return found


def _rank(members: Members, values: Floats) -> Floats:
    """1 for the largest; the same values have the same rank, and leave out the next ones."""
    order = np.lexsort((-values, members.of))  # NaN last
    here, of = values[order], members.of[order]
    place = np.arange(len(of))
    new = np.r_[True, (of[1:] != of[:-1]) | (here[1:] != here[:-1])]
    rank = np.maximum.accumulate(np.where(new, place, 0)) - members.starts[of] + 1.0
    found = np.empty(len(of))
    found[order] = np.where(np.isnan(here), np.nan, rank)
    return found


@dataclass(frozen=True, slots=True)
class Grouped(Function):
    """A function of one argument whose answer depends on all members of the group."""

    each: bool = False  # the answer differs between members

    def drives(self, members: Members, values: Floats) -> Floats:
        """How much each member drives the answer, NaN = not at all: the extreme one, those that count, or by value."""
        if self.run in (_largest, _smallest):
            return np.where(values == self.run(members, values), 1.0, np.nan)
        return np.where(values > 0, 1.0, np.nan) if self.takes[0] == "condition" else values


def _function(name: str, kind: str, run: Callable[[Members, Floats], Floats], each: bool = False) -> Grouped:
    if kind == "number":
        return Grouped(("number",), "number", run, f"{name}(score)", False, each)
    return Grouped(("condition",), "number", run, f"{name}(score > 1)", False, each)


GROUPED: dict[str, Grouped] = {
    "group_max": _function("group_max", "number", _largest),
    "group_min": _function("group_min", "number", _smallest),
    "group_avg": _function("group_avg", "number", _average),
    "group_sum": _function("group_sum", "number", _sum),
    "group_count": _function("group_count", "condition", _sum),
    "group_share": _function("group_share", "condition", _share),
    "group_rank": _function("group_rank", "number", _rank, each=True),
}


def spread(value: Any, n: int) -> Floats:
    """A number or a condition (1, 0, NaN where unknown) as a column of length n."""
    if isinstance(value, Truth):
        value = np.where(value.true, 1.0, np.where(value.false, 0.0, np.nan))
    column = np.empty(n)
    column[:] = value
    return column


def by_group(tree: ast.expr) -> bool:
    """Whether all members of a group get the same answer: group functions, constants and ``group``, nothing else."""
    names: set[str] = set()
    grouped = False
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in GROUPED:
            if GROUPED[node.func.id].each:
                return False
            grouped = True
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in FUNCTIONS:
                return False
            waiting += node.args
            continue
        names |= {node.id} if isinstance(node, ast.Name) else set()
        waiting += ast.iter_child_nodes(node)
    return grouped and names <= {"group"}
