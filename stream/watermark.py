"""How far event time has come: a watermark per partition, and the monitor's, their minimum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Times

NEVER = np.iinfo(np.int64).min // 4  # before all event times, and far enough from the edge to subtract from


class Watermarks:
    """Per-partition columns. The idea is bytewax's: highest event time - lateness + time since that reading came.

    Time is added only to a partition that is read to its end; while it is behind, its own readings move it. A
    partition that brings nothing for ``idle`` ns, or was read to its end without any record, holds nobody back; one of
    which the source says that it has more and is held up does, however long.
    Unlike bytewax's, the time added is that of the newest reading, not the most that any reading ever gave: so a clock
    that was ahead once, or a producer that grew slower, does not make readings late for ever.
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
        self._clock = NEVER  # at the last advance
        self.delay = 0  # ns by which readings at the end of their partitions came after their event time

    def observe(self, batch: Batch, usable: npt.NDArray[np.bool_], now: int) -> tuple[Times, npt.NDArray[np.bool_]]:
        """Take in a poll; rows that are not ``usable`` (set aside) move nothing.

        Returns for each reading the record watermark of its own partition by the readings *before* it [n] (ns),
        and whether it is a duplicate [n]: its offset was seen in an earlier poll or lies behind one of this poll.
        """
        present = distinct(batch.partition)
        self._note(batch, present, now)
        before = np.full(len(batch), NEVER, np.int64)
        again = np.zeros(len(batch), bool)
        for partition in present:
            rows = slice(None) if len(present) == 1 else np.flatnonzero(batch.partition == partition)
            again[rows] = self._seen_again(partition, batch.offset[rows])
            use = usable[rows] & ~again[rows]
            before[rows] = self._high[partition]
            if use.any():
                before[rows] = self._raise(partition, batch.ts[rows], batch.arrived[rows], use)
                self._heard[partition] = max(int(self._heard[partition]), now)
        return before - self.lateness, again

    def _note(self, batch: Batch, present: list[int], now: int) -> None:
        named = [*batch.positions, *batch.at_end, *batch.ended, *batch.held, *present]
        self._grow(max(named, default=-1) + 1)
        first = [partition for partition in named if not self._known[partition]]
        self._heard[first] = np.maximum(self._heard[first], now)
        self._known[first] = True
        self._at_end[:] = False
        self._at_end[list(batch.at_end)] = True
        held = list(batch.held)
        self._heard[held] = np.maximum(self._heard[held], now)

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
        highest = _highest(offset)
        again: npt.NDArray[np.bool_] = offset <= self._offset[partition]
        again[1:] |= offset[1:] < highest[:-1]
        self._offset[partition] = max(self._offset[partition], highest[-1])
        return again

    def _raise(self, partition: int, ts: Times, arrived: Times, use: npt.NDArray[np.bool_]) -> Times:
        """Move one partition by its readings, those not in ``use`` apart; the highest event time before each."""
        counted = ts if use.all() else np.where(use, ts, NEVER)
        highest = _highest(np.concatenate((self._high[partition : partition + 1], counted)))
        if highest[-1] > highest[0]:
            top = int(np.argmax(counted))
            self._high[partition], self._high_at[partition] = ts[top], arrived[top]
        return highest[:-1]

    def advance(self, now: int) -> int:
        """The monitor's watermark at ``now`` (ns)."""
        self._clock = now
        heard = self._known & (self._high > NEVER)
        waits = heard & self._at_end
        each = self._high + np.where(waits, np.maximum(now - self._high_at, 0), 0) - self.lateness
        count = self._known & ~self._quiet(now)
        if not count.any():  # all are idle and hold nobody: the one furthest moves on with the time
            count = waits & (each == each.max(where=waits, initial=NEVER)) if waits.any() else heard
        if count.any():
            self.now = max(self.now, int(each[count].min()))
        self.delay = max(0, int((self._high_at - self._high)[count & waits].max(initial=0)))
        return self.now

    def _quiet(self, now: int) -> npt.NDArray[np.bool_]:
        quiet: npt.NDArray[np.bool_] = self._at_end & (self._high == NEVER)
        quiet |= now - self._heard > self._idle
        return quiet

    def when(self, time: int) -> int | None:
        """The clock's time (ns) at which the watermark is at ``time`` if no reading comes; None: it needs a reading."""
        far = -NEVER
        heard = self._known & (self._high > NEVER)
        waits = heard & self._at_end
        if not heard.any():
            return None
        moves = np.where(waits, time + self.lateness + (self._high_at - self._high), far)
        moves = np.where(heard & (self._high - self.lateness >= time), NEVER, moves)
        leaves = np.where(self._at_end & (self._high == NEVER), NEVER, self._heard + self._idle + 1)
        found = int(np.minimum(moves, leaves).max(where=self._known, initial=self._clock))
        if (leaves <= found).all(where=self._known):  # all are idle then
            last = moves.min(where=waits, initial=far) if waits.any() else moves.max(where=heard, initial=NEVER)
            found = max(found, int(last))
        return found if NEVER < found < far else None

    def reach(self, time: int) -> None:
        """All that ends by ``time`` (ns) is closed, whatever the partitions say: they are drained."""
        self.now = max(self.now, time)

    def end(self, partitions: tuple[int, ...]) -> bool:
        """These partitions bring nothing more; true when none is left."""
        self._grow(max(partitions, default=-1) + 1)
        self._known[list(partitions)] = False
        return not self._known.any()

    def take(self, partition: int) -> Times:
        """What ``put`` needs of one partition [4]: highest event time, its arrival, highest offset, and ``now``."""
        self._grow(partition + 1)
        own = self._high[partition], self._high_at[partition], self._offset[partition]
        return np.array([*own, self.now], np.int64)

    def put(self, partition: int, taken: Times, now: int) -> None:
        """A partition that another process has read so far. Where time is further here, it goes back."""
        self._grow(partition + 1)
        self._high[partition], self._high_at[partition], self._offset[partition] = taken[:3].tolist()
        self.meet(partition, now)
        self.go_back(int(taken[3]))

    def meet(self, partition: int, now: int) -> None:
        """A partition that is about to be read, and holds the others back until then."""
        self._grow(partition + 1)
        self._known[partition], self._heard[partition] = True, now

    def go_back(self, time: int) -> None:
        """Event time begins again at ``time`` (ns), for streams that have not come as far as others."""
        self.now = min(self.now, time)

    def leave(self, partition: int) -> None:
        """Another process reads it from now on."""
        self._grow(partition + 1)
        self._known[partition] = False
        self._high[partition], self._offset[partition] = NEVER, -1

    def columns(self) -> dict[str, npt.NDArray[np.int64]]:
        """What a checkpoint keeps, by partition number: highest event time, its arrival, highest offset.

        Which partitions there are, and how long each was quiet, is found anew after a restart.
        """
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


def _highest(column: Times) -> Times:
    """The largest so far at each place; nearly always the column itself, and told so ten times as fast."""
    found: Times = column if (column[1:] >= column[:-1]).all() else np.maximum.accumulate(column)
    return found


def distinct(column: npt.NDArray[np.int32]) -> list[int]:
    """The values that occur, ascending; quick where there is only one."""
    if column.size and (column == column[0]).all():
        return [int(column[0])]
    return [int(value) for value in np.unique(column)]
