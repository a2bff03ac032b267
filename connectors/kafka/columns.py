"""Records of one partition in columns: what every client of Kafka is made to give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar, overload

import numpy as np

from connectors.batch import Times
from connectors.formats.fieldpath import Headers

Item = TypeVar("Item")
Bytes = bytes | None


class Late(Sequence[Item], Generic[Item]):
    """A sequence of ``n`` items that is made as a whole when one is first asked for: keys and headers seldom are."""

    def __init__(self, n: int, make: Callable[[], list[Item]]) -> None:
        self._n, self._make = n, make
        self._made: list[Item] | None = None

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        return self._all()[row]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._all())

    def _all(self) -> list[Item]:
        if self._made is None:
            self._made = self._make()
        return self._made


@dataclass(frozen=True, slots=True)
class Columns:
    """n records in the order of their offsets."""

    offset: Times
    written: Times  # ms, the record's own time; -1 = none
    values: Sequence[Bytes]
    keys: Sequence[Bytes]
    headers: Sequence[Headers]

    def __len__(self) -> int:
        return len(self.offset)

    def part(self, first: int, stop: int) -> Columns:
        """Records ``first`` up to ``stop``."""
        rows = slice(first, stop)
        return Columns(self.offset[rows], self.written[rows], self.values[rows], self.keys[rows], self.headers[rows])


def of_records(records: Sequence[Any]) -> Columns:
    """Columns of kafka-python's records."""
    return Columns(
        np.array([record.offset for record in records], np.int64),
        np.array([record.timestamp for record in records], np.int64),
        [record.value for record in records],
        [record.key for record in records],
        [record.headers for record in records],
    )


def of_poll(found: Sequence[Any]) -> Columns:
    """What one poll brought of a partition: columns already, or the client's own records."""
    if all(isinstance(each, Columns) for each in found):
        return joined(found)
    return of_records(found)


def joined(pieces: Sequence[Columns]) -> Columns:
    """One after the other."""
    if len(pieces) == 1:
        return pieces[0]
    n = sum(map(len, pieces))
    return Columns(
        np.concatenate([piece.offset for piece in pieces] or [np.empty(0, np.int64)]),
        np.concatenate([piece.written for piece in pieces] or [np.empty(0, np.int64)]),
        Late(n, lambda: list(chain.from_iterable(piece.values for piece in pieces))),
        Late(n, lambda: list(chain.from_iterable(piece.keys for piece in pieces))),
        Late(n, lambda: list(chain.from_iterable(piece.headers for piece in pieces))),
    )
