"""What was said of every stream at every step, and what was decided about it, as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.batch import Ints, StreamTable, Times
from connectors.recordings.columnfile import NAME, TIME, Column, ColumnFile, numbers, texts, times
from connectors.slots import Numbers

ROWS_A_GROUP = 100_000
FIDELITIES = ("full", "lite", "sentinel")
SAID = ("value", "score", "p", "expected", "low", "high", "weight")

Codes = npt.NDArray[np.integer[Any]]
Values = npt.NDArray[np.floating[Any]]


class _Results:
    """Rows about streams, gathered and written a row group at a time. Raises SinkError where the disk says no."""

    def __init__(self, path: str | Path, kinds: Mapping[str, Any], words: Mapping[str, Sequence[str]]) -> None:
        self._kinds, self._words = kinds, words
        self._file = ColumnFile(path, kinds)
        self._numbers: Numbers | None = None
        self._rows: list[dict[str, npt.NDArray[Any]]] = []
        self._buffered = 0

    def _add(self, slots: Ints, table: StreamTable, ts: int | Times, columns: Mapping[str, Any]) -> None:
        self._numbers = self._numbers or Numbers(table)
        n = len(slots)
        ts = np.broadcast_to(np.asarray(ts, np.int64), n)
        copies = {name: np.array(column) for name, column in columns.items()}
        self._rows.append({"ts": ts, "stream": self._numbers.of(slots), **copies})
        self._buffered += n
        if self._buffered >= ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._buffered and self._numbers is not None:
            rows = {name: np.concatenate([row[name] for row in self._rows]) for name in self._rows[0]}
            present, rows["stream"] = np.unique(rows["stream"], return_inverse=True)
            streams = [self._numbers.streams[i] for i in present.tolist()]
            words = {"stream": [s.name for s in streams], "group": [s.group for s in streams], **self._words}
            rows["group"] = rows["stream"]
            self._file.write({name: _column(rows[name], words.get(name)) for name in self._kinds})
        self._rows, self._buffered = [], 0

    def close(self) -> None:
        """Write the rest and give the file its name; safe to call twice."""
        if not self._file.closed:
            self.flush()
            self._file.close()


def _column(values: npt.NDArray[Any], words: Sequence[str] | None) -> Column:
    if words is not None:
        return texts(values, words)
    return times(values) if values.dtype == np.int64 else numbers(values.astype(np.float64))


class ScoresWriter(_Results):
    """One row per stream and step: ts, group, stream, value, score, p, expected, low, high, weight, fidelity."""

    def __init__(self, path: str | Path) -> None:
        kinds = {"ts": TIME, "group": NAME, "stream": NAME, **dict.fromkeys(SAID, pa.float64()), "fidelity": NAME}
        super().__init__(path, kinds, {"fidelity": FIDELITIES})

    def add(
        self, ts: int | Times, slots: Ints, table: StreamTable, said: Mapping[str, Values], fidelity: Codes
    ) -> None:
        """Add n streams' rows of a step.

        ``ts``: the step's start, ns, one or [n]. ``said``: columns of SAID, each [n], NaN or left out = null.
        ``fidelity``: index into FIDELITIES [n], -1 = null. No slot may be REFUSED.
        """
        nothing = np.full(len(slots), np.nan)
        columns = {name: said.get(name, nothing) for name in SAID}
        self._add(slots, table, ts, {**columns, "fidelity": fidelity})


class DecisionsWriter(_Results):
    """One row per window that was due: ts, stream, outcome, reason, weight, rank, age (s since the last full look)."""

    def __init__(self, path: str | Path, outcomes: Sequence[str], reasons: Sequence[str]) -> None:
        numeric = dict.fromkeys(("weight", "rank", "age"), pa.float64())
        kinds = {"ts": TIME, "stream": NAME, "outcome": NAME, "reason": NAME, **numeric}
        super().__init__(path, kinds, {"outcome": outcomes, "reason": reasons})

    def add(
        self,
        ts: int | Times,
        slots: Ints,
        table: StreamTable,
        outcome: Codes,
        reason: Codes,
        weight: Values,
        rank: Values | Codes,
        age: Values,
    ) -> None:
        """Add n decisions; ``outcome`` and ``reason`` index the names given at the start, -1 = null; NaN = null."""
        rank = np.where(np.asarray(rank) < 0, np.nan, rank)
        columns = {"outcome": outcome, "reason": reason, "weight": weight, "rank": rank, "age": age}
        self._add(slots, table, ts, columns)
