"""Readings that share a step become one value: open steps in columns, and what each transform makes of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Ints, Times

AGGREGATES = ("mean", "sum", "min", "max", "last", "count")
TRANSFORMS = ("none", "delta", "rate", "log_return")
MEAN, SUM, MIN, MAX, LAST, COUNT = range(6)


class OpenSteps:
    """Steps whose frames are not closed yet: ``room`` of them per stream, in columns [room, stream]."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.total = np.zeros((room, 0))  # mean, sum: the sum; min, max, last: the value; 0 where there is none
        self.count = np.zeros((room, 0), np.int32)
        self._last_ts = np.zeros((room, 0), np.int64)
        self.how = np.zeros(0, np.int8)  # per stream: one of AGGREGATES

    def grow(self, n: int, room: int) -> None:
        """Columns for ``n`` streams and ``room`` steps."""
        for name in ("total", "count", "_last_ts"):
            old = getattr(self, name)
            new = np.zeros((max(room, old.shape[0]), n), old.dtype)
            new[: old.shape[0], : old.shape[1]] = old
            setattr(self, name, new)
        self.room = self.total.shape[0]
        self.how = np.append(self.how, np.zeros(n - self.how.size, np.int8))

    def widened(self, room: int, lanes: Sequence[tuple[Ints, int | None]]) -> OpenSteps:
        """The same with more room; ``lanes`` tells each lane's streams and its last closed step."""
        wide = OpenSteps(room)
        wide.grow(self.total.shape[1], room)
        wide.how = self.how
        for slots, closed in lanes:
            for k in () if closed is None else range(closed + 1, closed + self.room + 1):
                for name in ("total", "count", "_last_ts"):
                    getattr(wide, name)[k % room, slots] = getattr(self, name)[k % self.room, slots]
        return wide

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in ("total", "count", "_last_ts", "how")}

    def restore(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``."""
        for name, column in columns.items():
            setattr(self, name, column)
        self.room = self.total.shape[0]

    def take_out(self, slots: Ints) -> dict[str, npt.NDArray[Any]]:
        """What some streams have open, for ``put`` elsewhere."""
        kept = {name: getattr(self, name)[:, slots] for name in ("total", "count", "_last_ts")}
        return {**kept, "how": self.how[slots]}

    def put(self, slots: Ints, closed: Times, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``take_out``, with at least as much room; ``closed`` [m] is the last closed step of each."""
        self.clear(slots)
        self.how[slots] = columns["how"]
        room = len(columns["total"])
        for each in np.unique(closed).tolist():
            rows = closed == each
            k = np.arange(each + 1, each + room + 1)
            for name in ("total", "count", "_last_ts"):
                getattr(self, name)[(k % self.room)[:, None], slots[rows]] = columns[name][k % room][:, rows]

    def clear(self, slots: Ints) -> None:
        """Forget what these streams have open."""
        self.count[:, slots], self.total[:, slots] = 0, 0.0

    def add(self, row: Times, slot: Ints, ts: Times, value: Floats) -> None:
        """Take in readings in the order they came; ``row`` = step modulo room.

        Sums are added up one by one, so that it does not matter how readings are cut into batches.
        """
        flat = row * self.total.shape[1] + slot
        total, count = self.total.reshape(-1), self.count.reshape(-1)
        how = self.how[slot]
        sums: slice | npt.NDArray[np.bool_] = slice(None)
        if how.any():
            self._add_others(flat, how, ts, value)
            sums = (how == MEAN) | (how == SUM)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(total, flat[sums], value[sums])
        np.add.at(count, flat, np.int32(1))

    def _add_others(self, flat: Times, how: npt.NDArray[np.int8], ts: Times, value: Floats) -> None:
        """Least, greatest and last; an empty step holds 0."""
        total, fresh = self.total.reshape(-1), self.count.reshape(-1)[flat] == 0
        for kind, least, keep in ((MIN, np.inf, np.minimum), (MAX, -np.inf, np.maximum)):
            rows = how == kind
            total[flat[rows & fresh]] = least
            keep.at(total, flat[rows], value[rows])
        rows = np.flatnonzero(how == LAST)
        self._last_ts.reshape(-1)[flat[rows[fresh[rows]]]] = np.iinfo(np.int64).min
        self._keep_last(flat[rows], ts[rows], value[rows])

    def _keep_last(self, flat: Times, ts: Times, value: Floats) -> None:
        """The value with the newest event time, of several the one that came last."""
        last_ts = self._last_ts.reshape(-1)
        order = np.argsort(ts, kind="stable")  # the last that is written to a place stays there
        order = order[ts[order] >= last_ts[flat[order]]]
        last_ts[flat[order]], self.total.reshape(-1)[flat[order]] = ts[order], value[order]

    def take(self, row: int, at: slice | Ints) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Close one step of some streams: its value [m] (NaN without readings) and how many readings it had [m]."""
        total, count, how = self.total[row, at], self.count[row, at].copy(), self.how[at]
        value = total / np.maximum(count, 1)
        if how.any():
            value = np.where(how == MEAN, value, np.where(how == COUNT, count, total))
        self.count[row, at], self.total[row, at] = 0, 0.0
        return np.where((count > 0) & np.isfinite(value), value, np.nan), count


class Transforms:
    """Delta, rate and log return against the stream's previous step with a reading."""

    def __init__(self) -> None:
        self.how = np.zeros(0, np.int8)  # per stream: one of TRANSFORMS
        self.value = np.zeros(0)
        self.step = np.zeros(0, np.int64)
        self.seen = np.zeros(0, bool)

    def grow(self, n: int) -> None:
        """Columns for ``n`` streams."""
        for name in ("how", "value", "step", "seen"):
            old = getattr(self, name)
            setattr(self, name, np.append(old, np.zeros(n - old.size, old.dtype)))

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in ("how", "value", "step", "seen")}

    def restore(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``."""
        for name, column in columns.items():
            setattr(self, name, column)

    def take_out(self, slots: Ints) -> dict[str, npt.NDArray[Any]]:
        """What is known of some streams."""
        return {name: column[slots] for name, column in self.columns().items()}

    def put(self, slots: Ints, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``take_out``."""
        for name, column in columns.items():
            getattr(self, name)[slots] = column

    def apply(self, slots: Ints, value: Floats, k: int, step_s: float) -> Floats:
        """What the steps' values become [m]; NaN where there is no previous one. A falling counter has restarted."""
        how = self.how[slots]
        if not how.any():
            return value
        here = ~np.isnan(value)
        before, seen = self.value[slots], self.seen[slots]
        seconds = np.maximum(k - self.step[slots], 1) * step_s
        with np.errstate(all="ignore"):
            grown = np.where(value < before, value, value - before)
            ratio = np.log(value / before)
            choices = [value, value - before, grown / seconds, ratio]
        out = np.where((how == 0) | seen, np.choose(how, choices), np.nan)
        out[np.isinf(out)] = np.nan
        now = slots[here]
        self.value[now], self.step[now], self.seen[now] = value[here], k, True
        return out
