"""Parts of an expression that need not be computed at every step, because what they depend on seldom changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.columns import FIDELITIES, Rows, Slots
from stream.rules.functions import Kind
from stream.rules.truth import Truth

Run = Callable[[Rows], Any]  # a column, or a single value that stands for all rows
Columns = tuple[npt.NDArray[Any], ...]
SLOT, FIDELITY = "slot", "fidelity"  # in Part.needs: depends on the stream's names alone, on the fidelity alone
_DTYPES: dict[Kind, tuple[type, ...]] = {"number": (np.float64,), "string": (object,), "condition": (bool, bool)}


@dataclass(slots=True)
class _NoNames:
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)


_NO_SLOTS, _NO_CODES = np.empty(0, np.int32), np.empty(0, np.int8)
NOTHING = Rows(_NoNames(), _NO_SLOTS, {}, _NO_CODES)
_EACH_FIDELITY = Rows(_NoNames(), _NO_SLOTS, {}, np.arange(len(FIDELITIES), dtype=np.int8))


def _columns(kind: Kind, value: Any) -> tuple[Any, ...]:
    return tuple(value) if kind == "condition" else (value,)


def _value(kind: Kind, columns: Columns) -> Any:
    return Truth(*columns) if kind == "condition" else columns[0]


class BySlot:
    """A part that depends on the stream's name, group and labels alone: computed once for each slot."""

    def __init__(self, kind: Kind, run: Run) -> None:
        self._kind, self._run = kind, run
        self._have = np.zeros(0, bool)
        self._columns: Columns = tuple(np.zeros(0, dtype) for dtype in _DTYPES[kind])

    def __call__(self, rows: Rows) -> Any:
        top = int(rows.slots.max(initial=-1))
        if top >= len(self._have):
            self._grow(top + 1)
        if not self._have.take(rows.slots).all():
            self._learn(rows)
        return _value(self._kind, tuple(column.take(rows.slots) for column in self._columns))

    def _grow(self, least: int) -> None:
        more = max(least, 2 * len(self._have), 64) - len(self._have)
        self._have = np.concatenate([self._have, np.zeros(more, bool)])
        self._columns = tuple(np.concatenate([each, np.zeros(more, each.dtype)]) for each in self._columns)

    def _learn(self, rows: Rows) -> None:
        new = rows.slots[~self._have[rows.slots]]
        found = self._run(Rows(rows.names, new, {}, np.zeros(len(new), np.int8)))
        for column, values in zip(self._columns, _columns(self._kind, found), strict=True):
            column[new] = values
        self._have[new] = True

    def forget(self, slots: Sequence[int] | Slots) -> None:
        """Compute these slots anew when they are seen again: they may belong to other streams then."""
        known = np.asarray(slots, dtype=np.int64)
        self._have[known[known < len(self._have)]] = False


class ByFidelity:
    """A part that depends on the fidelity alone: one value for each of the four."""

    def __init__(self, kind: Kind, run: Run) -> None:
        self._kind = kind
        self._columns: Columns = tuple(
            np.asarray(column, dtype)
            for column, dtype in zip(_columns(kind, run(_EACH_FIDELITY)), _DTYPES[kind], strict=True)
        )

    def __call__(self, rows: Rows) -> Any:
        return _value(self._kind, tuple(column.take(rows.fidelity) for column in self._columns))
