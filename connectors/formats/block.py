"""Rows of readings in columns, as a format's reader takes them out of messages, before they are checked and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Values = Sequence[Any] | npt.NDArray[Any]
_NOTHING = np.empty(0, np.intp)


Item = TypeVar("Item")


class Growing(list[Item]):
    """A list that only ever grows at its end."""


@dataclass(frozen=True, slots=True)
class Column:
    """Values, and which of them each row has (None = one each, in order): one value may stand for many rows.

    ``typed`` values are of the kinds that their field may have: nobody has to look for a truth value among numbers.
    Where there are ``words``, values are places in them, or arrays of such.
    """

    values: Values
    at: Rows | None = None
    typed: bool = False
    words: Growing[Any] | None = None

    def rows(self) -> Values:
        """A value for each row."""
        if self.at is None:
            return self.values
        if isinstance(self.values, np.ndarray):
            return self.values[self.at]
        return list(map(self.values.__getitem__, self.at.tolist()))

    def take(self, rows: Rows) -> Column:
        """The rows at ``rows``; a row may be taken many times."""
        return Column(self.values, rows if self.at is None else self.at[rows], self.typed, self.words)

    def apart(self) -> Column:
        """The same with a value for each row."""
        return self if self.at is None else Column(self.rows(), None, self.typed, self.words)


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

    Also returns the messages that are left out: with lists of different lengths, or with None where words should be.
    """
    columns = {text: column.apart() for text, column in block.columns.items()}  # what is left out is in none of them
    lengths = {text: _lengths(column.values) for text, column in columns.items()}  # -1 = not a list
    longest: npt.NDArray[np.intp] = np.max(list(lengths.values()), axis=0, initial=-1)
    lists = [text for text, own in lengths.items() if own.max(initial=-1) >= 0]
    unfit: Bools = np.zeros(len(block), bool)
    for text in lists:
        unfit |= (lengths[text] != longest) & (lengths[text] >= 0)
    for column in columns.values():
        if column.words is not None and type(None) in set(map(type, column.values)):
            unfit |= np.array([place is None for place in column.values])
    if unfit.any():
        bad = np.unique(block.row[unfit])
        rest = block.take(np.flatnonzero(~np.isin(block.row, bad)))
        return spread_lists(rest)[0], bad
    counts = np.where(longest < 0, 1, longest)
    spread = {text: _spread(columns[text], lengths[text], counts) for text in lists}
    whole = Block(block.row, columns)
    found = whole.spread(counts, spread) if lists else whole
    return Block(found.row, {text: _worded(column) for text, column in found.columns.items()}), np.empty(0, np.intp)


def _lengths(values: Values) -> npt.NDArray[np.intp]:
    kinds = set(map(type, values))
    if kinds <= {list} or kinds <= {np.ndarray}:
        return np.fromiter(map(len, values), np.intp, len(values))
    lists = {list, np.ndarray}
    if lists.isdisjoint(kinds):
        return np.full(len(values), -1, np.intp)
    return np.array([len(value) if type(value) in lists else -1 for value in values], np.intp)


def _spread(column: Column, lengths: npt.NDArray[np.intp], counts: npt.NDArray[np.intp]) -> Column:
    known = zip(column.values, lengths.tolist(), counts.tolist(), strict=True)
    if column.words is not None:
        places = [value if own >= 0 else np.full(n, value) for value, own, n in known]
        return Column(np.concatenate([_NOTHING, *places]), None, column.typed, column.words)
    lists = [value if own >= 0 else [value] * n for value, own, n in known] if (lengths < 0).any() else column.values
    return Column(list(chain.from_iterable(lists)), None, column.typed)


def _worded(column: Column) -> Column:
    """Places in words as what they are: which value each row has."""
    if column.words is None:
        return column
    places = np.asarray(column.values, np.intp)
    return Column(column.words, places if column.at is None else places[column.at], column.typed)
