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
        self.total = np.zeros((room, 0))  # mean, sum: the sum; min, max, last: the value
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

    def clear(self, slots: Ints) -> None:
        """Forget what these streams have open."""
        self.count[:, slots] = 0

    def add(self, row: Ints, slot: Ints, ts: Times, value: Floats) -> None:
        """Take in readings; ``row`` = step modulo room. Several of one stream and step are told apart by event time."""
        flat = row.astype(np.int64) * self.total.shape[1] + slot
        order = np.lexsort((ts, flat))
        flat, ts, value = flat[order], ts[order], value[order]
        first = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
        size = np.diff(np.append(first, flat.size))
        where, how = flat[first], self.how[slot[order][first]]
        total, count, last_ts = self.total.reshape(-1), self.count.reshape(-1), self._last_ts.reshape(-1)
        end_ts, end_value = ts[first + size - 1], value[first + size - 1]
        held, fresh = total[where], count[where] == 0
        new = np.where(fresh, 0.0, held) + np.add.reduceat(value, first)
        if how.any():
            low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
            new = np.where(how == MIN, np.where(fresh, low, np.minimum(held, low)), new)
            new = np.where(how == MAX, np.where(fresh, high, np.maximum(held, high)), new)
            newest = fresh | (end_ts >= last_ts[where])
            new = np.where(how == LAST, np.where(newest, end_value, held), new)
            last_ts[where] = np.where(newest, end_ts, last_ts[where])
        total[where] = new
        count[where] += size.astype(np.int32)

    def take(self, row: int, slots: Ints) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Close one step of some streams: its value [m] (NaN without readings) and how many readings it had [m]."""
        total, count, how = self.total[row, slots], self.count[row, slots], self.how[slots]
        value = np.where(how == MEAN, total / np.maximum(count, 1), np.where(how == COUNT, count, total))
        self.count[row, slots] = 0
        return np.where(count > 0, value, np.nan), count


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
        choices = [value, value - before, grown / seconds, np.where(np.isfinite(ratio), ratio, np.nan)]
        out = np.where((how == 0) | seen, np.choose(how, choices), np.nan)
        now = slots[here]
        self.value[now], self.step[now], self.seen[now] = value[here], k, True
        return out
