"""The last steps of many streams in a ring of cells, and what a stretch of them comes to, by way of blocks.

A cell is one step, or several where the ring has to reach far back. Beside the cells stand blocks of about the square
root of their number, so that a stretch of n cells costs about 2 * sqrt(n) operations a stream. Nothing is ever taken
off a running sum, so that there is no drift and infinity does not stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Places = npt.NDArray[np.intp] | slice
_GROW = 16  # columns at least


@dataclass(frozen=True, slots=True)
class Stat:
    """What a stretch comes to: ``of`` values (NaN = absent) and their steps; ``join`` of two, the older one first."""

    of: Callable[[Array, Any], Any]
    join: Callable[[Any, Any], Any]
    fold: Callable[[Array], Array]  # a stack [m, rows], oldest first, to [rows]
    empty: float
    dtype: type


def _or_newer(older: Array, newer: Array) -> Array:
    return np.where(np.isnan(older), newer, older)


def _or_older(older: Array, newer: Array) -> Array:
    return np.where(np.isnan(newer), older, newer)


def _each(join: Callable[[Array, Array], Array], stack: Array) -> Array:
    return reduce(join, stack, np.full(stack.shape[1], np.nan))


def _reduced(ufunc: np.ufunc, empty: float) -> Callable[[Array], Array]:
    return partial(ufunc.reduce, axis=0, dtype=np.float64, initial=empty)


_ADD = np.add, _reduced(np.add, 0.0), 0.0
STATS: dict[str, Stat] = {
    "sum": Stat(lambda x, k: np.where(np.isnan(x), 0.0, x), *_ADD, np.float64),
    "squares": Stat(lambda x, k: np.where(np.isnan(x), 0.0, np.square(x, dtype=np.float64)), *_ADD, np.float64),
    "count": Stat(lambda x, k: ~np.isnan(x), *_ADD, np.float32),
    "min": Stat(lambda x, k: x, np.fmin, _reduced(np.fmin, np.nan), np.nan, np.float32),
    "max": Stat(lambda x, k: x, np.fmax, _reduced(np.fmax, np.nan), np.nan, np.float32),
    "first": Stat(lambda x, k: x, _or_newer, partial(_each, _or_newer), np.nan, np.float32),
    "last": Stat(lambda x, k: x, _or_older, partial(_each, _or_older), np.nan, np.float32),
    "first_k": Stat(
        lambda x, k: np.where(np.isnan(x), np.nan, k), _or_newer, partial(_each, _or_newer), np.nan, np.float64
    ),
}
_VALUE = Stat(lambda x, k: x, _or_older, partial(_each, _or_older), np.nan, np.float32)


class Ring:
    """Cells of ``width`` steps for windows of up to ``cells`` of them; ``stats`` are what can be asked for.

    Values are float32 about each stream's own ``offset`` where ``about`` is true, so that prices and counters keep
    their last digits. Arrays are [cells, rows]: a step is one contiguous line.
    """

    def __init__(self, cells: int, width: int, stats: Sequence[str], about: bool) -> None:
        self.width, self.stats, self._about = width, tuple(sorted(stats)), about
        self._block, self._length = _shape(cells)
        self._head: int | None = None  # the newest cell
        kept = {"value": _VALUE} if width == 1 else {name: STATS[name] for name in self.stats}
        self._cells = {name: _blank(stat, self._length, 0) for name, stat in kept.items()}
        self._blocks = {name: _blank(STATS[name], self._length // self._block, 0) for name in self.stats}
        self.offset = np.zeros(0)  # NaN = no value yet

    @property
    def size(self) -> int:
        """Rows there is room for."""
        return len(self.offset)

    def advance(self, k: int) -> None:
        """Step ``k`` is the newest from now on; what was skipped is absent."""
        cell = k // self.width
        head = cell if self._head is None else self._head
        for each in range(max(head + 1, cell - self._length + 1), cell + 1):
            for name, stack in self._cells.items():
                stack[each % self._length] = _stat(name).empty
            if each % self._block == 0:
                for name, stack in self._blocks.items():
                    stack[self._block_of(each)] = STATS[name].empty
        self._head = max(head, cell)

    def _block_of(self, cell: int) -> int:
        return (cell // self._block) % (self._length // self._block)

    def write(self, k: int, rows: Places, values: npt.NDArray[np.float64]) -> None:
        """The values of step ``k``, which must be the newest (others are left out)."""
        cell = k // self.width
        if cell != self._head:
            return
        if self._about:
            offset = self.offset[rows]
            self.offset[rows] = np.where(np.isnan(offset) & np.isfinite(values), values, offset)
        near = (values - self.near(rows)).astype(np.float32)
        for stacks, at in ((self._cells, cell % self._length), (self._blocks, self._block_of(cell))):
            for name, stack in stacks.items():
                stat = _stat(name)
                stack[at, rows] = stat.join(stack[at, rows], stat.of(near, k))

    def near(self, rows: Places) -> npt.NDArray[np.float64]:
        """What values of these rows are held relative to."""
        offset = self.offset[rows]
        return np.where(np.isnan(offset), 0.0, offset)

    def fold(self, name: str, k: int, cells: int) -> Array:
        """What the newest ``cells`` cells up to step ``k`` come to, for all rows."""
        end = k // self.width + 1
        begin = end - cells
        whole = -(-begin // self._block)  # the first block that lies in the window as a whole
        parts = [self._folded(name, begin, min(end, whole * self._block))]
        if whole * self._block < end:
            count = self._length // self._block
            pieces = _pieces(whole, (end - 1) // self._block + 1, count)
            parts += [STATS[name].fold(self._blocks[name][piece]) for piece, _ in pieces]
        return reduce(STATS[name].join, parts)

    def _folded(self, name: str, begin: int, end: int) -> Array:
        """The same of single cells."""
        stat, found = STATS[name], []
        for piece, first in _pieces(begin, end, self._length):
            if self.width > 1:
                stack = self._cells[name][piece]
            else:
                stack = self._cells["value"][piece]
                stack = stat.of(stack, np.arange(first, first + len(stack))[:, None])
            found.append(stat.fold(stack))
        return reduce(stat.join, found) if found else np.full(len(self.offset), stat.empty)

    def cell(self, k: int) -> Array:
        """The cell of step ``k`` alone: its value, or the mean of its steps; NaN where absent. For all rows."""
        at = (k // self.width) % self._length
        if self.width == 1:
            value: Array = self._cells["value"][at]
            return value
        mean: Array = self._cells["sum"][at] / self._cells["count"][at]
        return mean

    def clear(self, rows: npt.NDArray[np.intp]) -> None:
        """Rows are given to other streams, or to none."""
        for stacks in (self._cells, self._blocks):
            for name, stack in stacks.items():
                stack[:, rows] = _stat(name).empty
        self.offset[rows] = np.nan if self._about else 0.0

    def grow(self, rows: int) -> None:
        """Room for at least ``rows`` rows."""
        more = max(rows, len(self.offset) * 5 // 4, _GROW) - len(self.offset)
        for stacks in (self._cells, self._blocks):
            for name, stack in stacks.items():
                stacks[name] = np.concatenate([stack, _blank(_stat(name), len(stack), more)], axis=1)
        self.offset = np.concatenate([self.offset, np.full(more, np.nan if self._about else 0.0)])

    def of(self, rows: npt.NDArray[np.intp]) -> dict[str, Array]:
        """``columns`` of some rows."""
        return {name: each if name == "head" else each[..., rows] for name, each in self.columns().items()}

    def join(self, other: Any, rows: npt.NDArray[np.intp], theirs: npt.NDArray[np.intp]) -> None:
        """Rows of a Ring of the same shape that has come to another step, into rows that are empty here."""
        if other._head is None:
            return
        self.advance(other._head * self.width)
        assert self._head is not None
        self.offset[rows] = other.offset[theirs]
        count = self._length // self._block
        for stacks, old, newest, length in (
            (self._cells, other._cells, other._head, self._length),
            (self._blocks, other._blocks, other._head // self._block, count),
        ):
            last = self._head if stacks is self._cells else self._head // self._block
            at = np.arange(max(last, newest) - length + 1, newest + 1) % length
            for name, stack in stacks.items():
                stack[at[:, None], rows] = old[name][at[:, None], theirs]

    def columns(self) -> dict[str, Array]:
        """For a checkpoint."""
        head = np.array([-1 if self._head is None else self._head], np.int64)
        cells = {f"cells.{name}": stack for name, stack in self._cells.items()}
        blocks = {f"blocks.{name}": stack for name, stack in self._blocks.items()}
        return {"head": head, "offset": self.offset, **cells, **blocks}

    def restore(self, columns: Mapping[str, Array]) -> bool:
        """The inverse of ``columns``; of a ring of another shape what fits. False where nothing does."""
        head = int(columns["head"][0])
        own = self.columns()
        if {name: len(stack) for name, stack in own.items() if name != "offset"} != {
            name: len(stack) for name, stack in columns.items() if name != "offset"
        }:
            return head >= 0 and self._take_over(columns, head)
        self._head, self.offset = None if head < 0 else head, columns["offset"].copy()
        self._cells = {name: columns[f"cells.{name}"].copy() for name in self._cells}
        self._blocks = {name: columns[f"blocks.{name}"].copy() for name in self._blocks}
        return True

    def _take_over(self, columns: Mapping[str, Array], head: int) -> bool:
        """The cells of a ring that other windows shared; what it did not keep begins now."""
        old = {name: columns[f"cells.{name}"] for name in self._cells if f"cells.{name}" in columns}
        if not old:
            return False
        self.offset = np.zeros(0)
        self.grow(len(columns["offset"]))
        rows, length = slice(0, len(columns["offset"])), len(next(iter(old.values())))
        self.offset[rows] = columns["offset"]
        for cell in range(max(0, head - min(length, self._length) + 1), head + 1):
            self.advance(cell * self.width)
            now = {name: stack[cell % length] for name, stack in old.items()}
            for name, values in now.items():
                self._cells[name][cell % self._length, rows] = values
            for name, stack in self._blocks.items():
                part = STATS[name].of(now["value"], cell) if self.width == 1 else now.get(name)
                if part is not None:
                    at = self._block_of(cell)
                    stack[at, rows] = STATS[name].join(stack[at, rows], part)
        return True


def bytes_a_row(cells: int, width: int, stats: Sequence[str]) -> int:
    """Memory of one row of a ring."""
    block, length = _shape(cells)
    sizes = {name: np.dtype(STATS[name].dtype).itemsize for name in stats}
    of_cell = 4 if width == 1 else sum(sizes.values())
    return 8 + length * of_cell + length // block * sum(sizes.values())


def _shape(cells: int) -> tuple[int, int]:
    """Cells of a block, and of the ring: one block more than a window needs, for the one that is being filled."""
    block = max(1, isqrt(cells))
    return block, (-(-cells // block) + 1) * block


def _stat(name: str) -> Stat:
    return _VALUE if name == "value" else STATS[name]


def _blank(stat: Stat, length: int, rows: int) -> Array:
    return np.full((length, rows), stat.empty, stat.dtype)


def _pieces(begin: int, end: int, length: int) -> Iterator[tuple[slice, int]]:
    """Where the places from ``begin`` to ``end`` stand in a ring: slices, and the first place of each."""
    at, left = begin % length, end - begin
    if left <= 0:
        return
    yield slice(at, min(at + left, length)), begin
    if at + left > length:
        yield slice(0, at + left - length), begin + length - at
