"""Rows of readings in columns, as a format's reader takes them out of messages, before they are checked and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Values = Sequence[Any] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """Values, and which of them each row has (None = one each, in order): one value may stand for many rows.

    ``typed`` values are of the kinds that their field may have: nobody has to look for a truth value among numbers.
    """

    values: Values
    at: Rows | None = None
    typed: bool = False

    def rows(self) -> Values:
        """A value for each row."""
        if self.at is None:
            return self.values
        if isinstance(self.values, np.ndarray):
            return self.values[self.at]
        return list(map(self.values.__getitem__, self.at.tolist()))

    def take(self, rows: Rows) -> Column:
        """The rows at ``rows``; a row may be taken many times."""
        return Column(self.values, rows if self.at is None else self.at[rows], self.typed)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of several messages, one message after the other; columns by the text of their paths."""

    row: Rows  # the message of each row
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Rows) -> Block:
        """The rows at ``rows``; a row may be taken many times."""
        return Block(self.row[rows], {text: column.take(rows) for text, column in self.columns.items()})

    def spread(self, counts: npt.NDArray[np.intp], more: Mapping[str, Column]) -> Block:
        """Each row ``counts`` times, with ``more`` columns of the new length."""
        wide = self.take(np.repeat(np.arange(len(self.row)), counts))
        return Block(wide.row, {**wide.columns, **more})


def chained(lists: Sequence[Sequence[Any]]) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """All elements in one list, and how many there are of each."""
    counts = np.fromiter(map(len, lists), np.intp, len(lists))
    return list(chain.from_iterable(lists)), counts


def spread_lists(block: Block) -> tuple[Block, Rows]:
    """A row for each element where columns hold lists; other values hold for all of them.

    Also returns the messages whose lists are of different lengths; they are left out.
    """
    rows = {text: column.rows() for text, column in block.columns.items()}
    kinds = {text: set(map(type, values)) for text, values in rows.items()}
    lists = [text for text, found in kinds.items() if list in found]
    if not lists:
        return block, np.empty(0, np.intp)
    lengths = np.array([_lengths(rows[text], kinds[text]) for text in lists])  # [lists, rows], -1 = not a list
    longest: npt.NDArray[np.intp] = lengths.max(axis=0)
    unequal: Bools = ((lengths != longest) & (lengths >= 0)).any(axis=0)
    if unequal.any():
        bad = np.unique(block.row[unequal])
        rest = block.take(np.flatnonzero(~np.isin(block.row, bad)))
        whole = {text: Column(column.rows(), None, column.typed) for text, column in rest.columns.items()}
        return spread_lists(Block(rest.row, whole))[0], bad
    counts = np.where(longest < 0, 1, longest)
    spread = {text: _spread(rows[text], kinds[text], counts, block.columns[text].typed) for text in lists}
    return block.spread(counts, spread), np.empty(0, np.intp)


def _lengths(values: Values, kinds: set[type]) -> npt.NDArray[np.intp]:
    if kinds == {list}:
        return np.fromiter(map(len, values), np.intp, len(values))
    return np.array([len(value) if type(value) is list else -1 for value in values], np.intp)


def _spread(values: Values, kinds: set[type], counts: npt.NDArray[np.intp], typed: bool) -> Column:
    if kinds != {list}:
        ns = counts.tolist()
        values = [value if type(value) is list else [value] * n for value, n in zip(values, ns, strict=True)]
    return Column(list(chain.from_iterable(values)), None, typed)
