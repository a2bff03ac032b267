"""How far event time has come: a watermark per partition, and the monitor's, their minimum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Times

NEVER = np.iinfo(np.int64).min // 4  # before all event times, and far enough from the edge to subtract from


class Watermarks:
    """Per-partition columns. The idea is bytewax's: highest event time - lateness + time since that reading came.

    Time is added only to a partition that is read to its end; while it is behind, its own readings move it. A
    partition that brings nothing for ``idle`` ns, or was read to its end without any record, holds nobody back.
    """

    def __init__(self, lateness: int, idle: int) -> None:
        self.lateness, self._idle = lateness, idle
        self._high = np.empty(0, np.int64)  # highest event time
        self._high_at = np.empty(0, np.int64)  # when the reading with the highest event time arrived
        self._heard = np.empty(0, np.int64)  # when the partition last brought a reading, or was first seen
        self._offset = np.empty(0, np.int64)  # highest offset seen
        self._known = np.empty(0, bool)  # a source has spoken of it, and it has not ended
        self._at_end = np.empty(0, bool)
        self.now = NEVER  # the monitor's watermark: never goes back

    def observe(self, batch: Batch, usable: npt.NDArray[np.bool_], now: int) -> tuple[Times, npt.NDArray[np.bool_]]:
        """Take in a poll; rows that are not ``usable`` (set aside) move nothing.

        Returns for each reading the record watermark of its own partition by the readings *before* it [n] (ns),
        and whether it is a duplicate [n]: its offset was seen in an earlier poll or lies behind one of this poll.
        """
        self._note(batch, now)
        before = np.full(len(batch), NEVER, np.int64)
        again = np.zeros(len(batch), bool)
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            again[rows] = self._seen_again(partition, batch.offset[rows])
            use = rows[usable[rows] & ~again[rows]]
            before[rows] = self._high[partition]
            if use.size:
                before[use] = self._raise(partition, batch.ts[use], batch.arrived[use])
                self._heard[partition] = max(int(self._heard[partition]), now)
        return before - self.lateness, again

    def _note(self, batch: Batch, now: int) -> None:
        named = [*batch.positions, *batch.at_end, *batch.ended, *np.unique(batch.partition).tolist()]
        self._grow(max(named, default=-1) + 1)
        new = np.unique(np.array(named, np.intp))
        first = new[~self._known[new]]
        self._heard[first] = np.maximum(self._heard[first], now)
        self._known[new] = True
        self._at_end[:] = False
        self._at_end[list(batch.at_end)] = True

    def _grow(self, n: int) -> None:
        more = n - self._high.size
        if more > 0:
            self._high = np.append(self._high, np.full(more, NEVER))
            self._high_at = np.append(self._high_at, np.full(more, NEVER))
            self._heard = np.append(self._heard, np.full(more, NEVER))
            self._offset = np.append(self._offset, np.full(more, -1, np.int64))
            self._known = np.append(self._known, np.zeros(more, bool))
            self._at_end = np.append(self._at_end, np.zeros(more, bool))

    def _seen_again(self, partition: int, offset: Times) -> npt.NDArray[np.bool_]:
        highest = np.maximum.accumulate(offset)
        before = np.concatenate(([-1], highest[:-1]))
        again = (offset <= self._offset[partition]) | (offset < before)
        self._offset[partition] = max(self._offset[partition], highest[-1])
        return again

    def _raise(self, partition: int, ts: Times, arrived: Times) -> Times:
        """Move one partition by its readings; the highest event time before each of them."""
        highest = np.maximum.accumulate(np.concatenate(([self._high[partition]], ts)))
        top = int(np.argmax(ts))
        if ts[top] > self._high[partition]:
            self._high[partition], self._high_at[partition] = ts[top], arrived[top]
        return highest[:-1]

    def advance(self, now: int) -> int:
        """The monitor's watermark at ``now`` (ns)."""
        known = self._known
        if known.any():
            waits = self._at_end & (self._high > NEVER)
            each = self._high + np.where(waits, np.maximum(now - self._high_at, 0), 0) - self.lateness
            quiet = (now - self._heard > self._idle) | (self._at_end & (self._high == NEVER))
            held = known & ~quiet
            heard = known & (self._high > NEVER)
            count = held if held.any() else heard
            if count.any():
                self.now = max(self.now, int(each[count].min()))
        return self.now

    def end(self, partitions: tuple[int, ...]) -> bool:
        """These partitions bring nothing more; true when none is left."""
        self._grow(max(partitions, default=-1) + 1)
        self._known[list(partitions)] = False
        return not self._known.any()

    def columns(self) -> dict[str, npt.NDArray[np.int64]]:
        """What a checkpoint keeps, by partition number: highest event time, its arrival, highest offset."""
        return {
            "high": self._high,
            "high_at": self._high_at,
            "offset": self._offset,
            "now": np.array([self.now]),
        }

    def restore(self, columns: dict[str, npt.NDArray[np.int64]]) -> None:
        """The inverse of ``columns``."""
        self._grow(columns["high"].size)
        for name, own in (("high", self._high), ("high_at", self._high_at), ("offset", self._offset)):
            own[: columns[name].size] = columns[name]
        self.now = int(columns["now"][0])
