"""Sliding windows: readings into steps, steps into mirrored rings, a tick for each step that event time closes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Floats, Ints, Times
from models.contract import F32
from stream.aggregate import OpenSteps, Transforms
from stream.lane import Bools, Held, Lane, Tick, lane_of
from stream.watermark import NEVER, Watermarks

HUGE = 3e38  # the ring is float32: differences are cut to what it holds
UNBORN = np.iinfo(np.int64).max
COUNTS = ("readings", "late", "future", "duplicate", "missing", "not_finite", "refused")
_PER_SLOT: Mapping[str, Any] = {
    "offset": 0.0, "lane": -1, "_step": 1, "_origin": 0, "born": UNBORN, "last": NEVER, "_newest": NEVER,
    "_partition": -1, "_ending": False, "valid": 0, "steps": 0, "rate": 0.0,
}  # fmt: skip
_KEPT = (*_PER_SLOT, "_ring", "_missing")


@dataclass(frozen=True, slots=True)
class NewStreams:
    """Streams that begin, in columns [m]; ``missing`` [m, v] holds values that mean "no value", padded with NaN."""

    slots: Ints
    step: Times
    origin: Times
    aggregate: npt.NDArray[np.int8]
    transform: npt.NDArray[np.int8]
    missing: Floats


class Windows:
    """Per-stream columns over slots; a ring holds the last ``size`` steps, about the stream's own first value.

    The ring is written twice, ``size`` apart, so that a window is one contiguous slice. Open steps live apart from
    it (aggregate.OpenSteps), so the ring needs no room for lateness. Times are ns; ``ttl`` is how long a stream may
    bring nothing before it is let go (never less than one window).
    """

    def __init__(self, size: int, lateness: int, future: int, idle: int, ttl: int) -> None:
        self.size, self.lateness, self._future, self._ttl = size, lateness, future, ttl
        self.marks = Watermarks(lateness, idle)
        self.lanes: dict[tuple[int, int], Lane] = {}
        self._lane_list: list[Lane] = []
        self._room = 3
        self._open = OpenSteps(self._room)
        self._transforms = Transforms()
        self._ring: F32 = np.zeros((0, 2 * size), np.float32)
        self._missing: Floats = np.zeros((0, 0))
        self.offset = np.zeros(0)
        self.lane = np.zeros(0, np.int32)  # per slot: number of its lane, -1 = none
        self._step = np.zeros(0, np.int64)
        self._origin = np.zeros(0, np.int64)
        self.born = np.zeros(0, np.int64)  # first step with a reading
        self.last = np.zeros(0, np.int64)  # last step with a reading that is in its place
        self._newest = np.zeros(0, np.int64)  # the same, readings that wait included
        self._partition = np.zeros(0, np.int32)
        self._ending = np.zeros(0, bool)  # its partition has ended: it is drained, then it leaves
        self.valid = np.zeros(0, np.int32)  # steps with a reading among the last ``size``
        self.steps = np.zeros(0, np.uint32)  # steps with a reading so far
        self.rate = np.zeros(0, np.float32)  # readings per second
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)

    # -- streams come and go

    def grow(self, n: int) -> None:
        """Columns for ``n`` slots, given in powers of two."""
        have = self.lane.size
        if n <= have:
            return
        more = max(n, 2 * have, 64) - have
        for name, fill in _PER_SLOT.items():
            old = getattr(self, name)
            setattr(self, name, np.append(old, np.full(more, fill, old.dtype)))
        self._ring = np.vstack([self._ring, np.full((more, 2 * self.size), np.nan, np.float32)])
        self._missing = np.vstack([self._missing, np.full((more, self._missing.shape[1]), np.nan)])
        self._open.grow(have + more, self._room)
        self._transforms.grow(have + more)

    def start(self, new: NewStreams) -> None:
        """Streams that are new, or that begin anew (on another raster, or after a silence longer than ``ttl``)."""
        if new.slots.size == 0:
            return
        self.grow(int(new.slots.max()) + 1)
        self._clear(new.slots)
        origin = new.origin % new.step
        self._step[new.slots], self._origin[new.slots] = new.step, origin
        self._open.how[new.slots], self._transforms.how[new.slots] = new.aggregate, new.transform
        self._transforms.seen[new.slots] = False
        self._set_missing(new)
        for step, at in np.unique(np.stack([new.step, origin], 1), axis=0).tolist():
            self._join(new.slots[(new.step == step) & (origin == at)], self._lane_number(step, at))

    def _clear(self, slots: Ints) -> None:
        """Take streams out of their lanes and forget what they had."""
        for number in np.unique(self.lane[slots]).tolist():
            if number >= 0:
                lane = self._lane_list[number]
                lane.slots = np.setdiff1d(lane.slots, slots).astype(np.int32)
        for name in ("lane", "born", "last", "_ending", "valid", "steps", "rate"):
            getattr(self, name)[slots] = _PER_SLOT[name]
        self._ring[slots] = np.nan
        self._open.clear(slots)

    def _set_missing(self, new: NewStreams) -> None:
        wider = new.missing.shape[1] - self._missing.shape[1]
        if wider > 0:
            self._missing = np.hstack([self._missing, np.full((len(self._missing), wider), np.nan)])
        self._missing[new.slots] = np.nan
        self._missing[new.slots, : new.missing.shape[1]] = new.missing

    def _join(self, slots: Ints, number: int) -> None:
        lane = self._lane_list[number]
        lane.slots = np.union1d(lane.slots, slots).astype(np.int32)
        self.lane[slots] = number

    def _lane_number(self, step: int, origin: int) -> int:
        if (step, origin) not in self.lanes:
            self.lanes[step, origin] = Lane(step, origin)
            self._lane_list.append(self.lanes[step, origin])
            self._make_room(-(-self.lateness // step) + 2)
        return self._lane_list.index(self.lanes[step, origin])

    def _make_room(self, room: int) -> None:
        """A finer raster needs more open steps; what is open moves to its new place."""
        wide = max(room, self._room)
        if wide > self._room:
            before = self._open
            self._open = before.widened(wide, [(lane.slots, lane.closed) for lane in self._lane_list])
            self._room = wide
        for lane in self._lane_list:
            if lane.arrived.size < wide:
                lane.widen(wide)

    def release(self, slots: Ints) -> None:
        """Streams that left."""
        self._clear(slots)
        self._newest[slots], self._partition[slots] = NEVER, -1

    # -- readings come in

    def add(self, batch: Batch, now: int) -> None:
        """Sort a poll into steps; what can't be used is counted. Streams must have been started before."""
        future = batch.ts > batch.arrived + self._future
        limit, again = self.marks.observe(batch, ~future, now)
        if len(batch) == 0:
            return
        self.counts["readings"] += len(batch)
        known = batch.stream >= 0
        slot = np.where(known, batch.stream, 0)
        k = (batch.ts - self._origin[slot]) // self._step[slot]
        missing = np.isnan(batch.value) | (batch.value[:, None] == self._missing[slot]).any(axis=1)
        use = np.ones(len(batch), bool)
        for reason, rows in (
            ("future", future),
            ("duplicate", again),
            ("refused", ~known),
            ("missing", missing),
            ("not_finite", ~np.isfinite(batch.value)),
            ("late", limit >= self._origin[slot] + (k + 1) * self._step[slot]),
        ):
            self.counts[reason] += int(np.count_nonzero(rows & use))
            use &= ~rows
        self._place(batch, np.flatnonzero(use), k)

    def _place(self, batch: Batch, rows: npt.NDArray[np.intp], k: Times) -> None:
        slot = batch.stream[rows]
        self._partition[slot] = batch.partition[rows]
        self._ending[slot] = False
        backlog = np.zeros(rows.size, bool) if batch.backlog is None else batch.backlog[rows]
        new = Held(k[rows], slot, batch.ts[rows], batch.arrived[rows], batch.value[rows], backlog)
        lanes = self.lane[slot]
        for number in np.unique(lanes).tolist():
            mine = new if (lanes == number).all() else new.only(lanes == number)
            self._hold(self._lane_list[number], mine)

    def _hold(self, lane: Lane, new: Held) -> None:
        """Readings wait by lane until their step has room; those of a closed step are late."""
        if lane.closed is None:
            lane.closed = int(new.k.min()) - -(-self.lateness // lane.step) - 1
        on_time = new.k > lane.closed
        if not on_time.all():
            self.counts["late"] += int(np.count_nonzero(~on_time))
            new = new.only(on_time)
        if new.k.size:
            new = new.sorted()
            lane.top = max(lane.top, int(new.k[-1]))
            np.maximum.at(self._newest, new.slot, new.k)
            lane.held = new if lane.held is None else lane.held.with_more(new)
            self._insert(lane)

    def _insert(self, lane: Lane) -> None:
        """Put what waits into the open steps as far as there is room."""
        assert lane.held is not None and lane.closed is not None
        if lane.held.k[0] > lane.closed + self._room:
            return
        ready, rest = lane.held.cut(lane.closed + self._room)
        lane.held = rest if rest.k.size else None
        row = (ready.k % self._room).astype(np.int32)
        self._open.add(row, ready.slot, ready.ts, ready.value)
        np.minimum.at(self.born, ready.slot, ready.k)
        np.maximum.at(self.last, ready.slot, ready.k)
        np.maximum.at(lane.arrived, row, ready.arrived)
        lane.backlog[row[~ready.backlog]] = False

    # -- frames come out

    def ticks(self, now: int) -> Iterator[Tick]:
        """The ticks that event time has closed, in the order of their ends; each is in the rings when it comes."""
        yield from self._close_until(self.marks.advance(now))

    def end(self, partitions: tuple[int, ...]) -> Iterator[Tick]:
        """Partitions that bring nothing more: their streams leave after their last reading; no gap, no silence."""
        if not partitions:
            return
        alone = self.marks.end(partitions)
        self._ending |= np.isin(self._partition, partitions) & (self.lane >= 0)
        if alone:
            yield from self._close_until(None)

    def _close_until(self, mark: int | None) -> Iterator[Tick]:
        """Close steps up to the watermark; without one, all that hold a reading."""
        queue = [(lane.end_of(lane.closed + 1), n) for n, lane in enumerate(self._lane_list) if lane.closed is not None]
        heapq.heapify(queue)
        while queue:
            end, number = heapq.heappop(queue)
            lane = self._lane_list[number]
            assert lane.closed is not None
            if (end > mark) if mark is not None else (lane.closed >= lane.top):
                continue
            if (self.last[lane.slots] > NEVER).any():
                tick = self._close(lane)
                if tick.slots.size:
                    yield tick
            else:
                self._skip(lane, lane.top if mark is None else lane.last_before(mark))
            heapq.heappush(queue, (lane.end_of(lane.closed + 1), number))

    def _skip(self, lane: Lane, last: int) -> None:
        """No stream is live in this lane: the steps up to the next reading are closed at once."""
        assert lane.closed is not None
        wait = last if lane.held is None else min(last, int(lane.held.k[0]) - 1)
        lane.closed = max(lane.closed + 1, wait)
        lane.arrived[:], lane.backlog[:] = 0, True
        if lane.held is not None:
            self._insert(lane)

    def _close(self, lane: Lane) -> Tick:
        assert lane.closed is not None
        k = lane.closed + 1
        row, seconds = k % self._room, lane.step / 1e9
        slots = lane.slots[self.born[lane.slots] <= k]
        slots = slots[~(self._ending[slots] & (self._newest[slots] < k))]
        raw, count = self._open.take(row, slots)
        value = self._transforms.apply(slots, raw, k, seconds)
        present = np.isfinite(value)
        self._write(k, slots, value, present)
        self._measure_rate(slots, count, seconds)
        start = lane.origin + k * lane.step
        due = start + lane.step + self.lateness
        arrived, backlog = int(lane.arrived[row]), bool(lane.backlog[row]) and bool(lane.arrived[row])
        lane.closed = k
        lane.arrived[row], lane.backlog[row] = 0, True
        if lane.held is not None:
            self._insert(lane)
        return Tick((lane.step, lane.origin), k, lane.step, start, due, slots, value, present, arrived, backlog)

    def _write(self, k: int, slots: Ints, value: Floats, present: Bools) -> None:
        at = k % self.size
        first = present & (self.steps[slots] == 0)
        self.offset[slots[first]] = value[first]
        self.valid[slots] += present.astype(np.int32) - ~np.isnan(self._ring[slots, at])
        self.steps[slots] += present
        with np.errstate(over="ignore", invalid="ignore"):
            held = np.clip(np.where(present, value, np.nan) - self.offset[slots], -HUGE, HUGE)
        self._ring[slots, at] = self._ring[slots, at + self.size] = held

    def _measure_rate(self, slots: Ints, count: npt.NDArray[np.int32], seconds: float) -> None:
        """An average over about a minute."""
        a = np.float32(min(1.0, max(seconds / 60, 1 / 64)))
        new = count * np.float32(1 / seconds)
        rate = self.rate[slots]
        self.rate[slots] = np.where(self.steps[slots] > 1, rate + a * (new - rate), new)

    def window(self, slots: Ints, k: int) -> F32:
        """The last ``size`` steps of some streams up to step ``k`` [m, size], about ``offset``; NaN = no reading."""
        end = k % self.size + self.size + 1
        return self._ring[slots, end - self.size : end]

    def gone(self) -> tuple[Ints, Ints]:
        """Streams to let go (drained to their end, or silent for ``ttl``), and those of them that begin anew at once.

        The latter have readings that wait: after so long a silence they are new streams of the old name.
        """
        leave = [np.empty(0, np.int32)]
        anew = [np.empty(0, np.int32)]
        for lane in self._lane_list:
            if lane.closed is None or lane.slots.size == 0:
                continue
            last, newest = self.last[lane.slots], self._newest[lane.slots]
            stale = (last > NEVER) & (lane.closed - last >= max(-(-self._ttl // lane.step), self.size))
            over = self._ending[lane.slots] & (newest <= lane.closed)
            waits = newest > last
            leave.append(lane.slots[over | (stale & ~waits)])
            anew.append(lane.slots[stale & waits & ~over])
        return np.concatenate(leave), np.concatenate(anew)

    def next_due(self) -> int | None:
        """When the next frame that holds a live stream is due (end + lateness, ns); None while nothing is."""
        ends = [
            lane.end_of(lane.closed + 1)
            for lane in self._lane_list
            if lane.closed is not None and (self.last[lane.slots] > NEVER).any()
        ]
        return min(ends) + self.lateness if ends else None

    # -- a checkpoint

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that windows depend on: rings, open steps, lanes with what waits in them, watermarks."""
        columns: dict[str, npt.NDArray[Any]] = {f"slot.{name}": getattr(self, name) for name in _KEPT}
        columns |= _prefixed("open", self._open.columns()) | _prefixed("transform", self._transforms.columns())
        columns |= _prefixed("marks", self.marks.columns())
        for number, lane in enumerate(self._lane_list):
            columns |= _prefixed(f"lane{number}", lane.columns())
        return columns | {"counts": np.array([self.counts[reason] for reason in COUNTS], np.int64)}

    def restore(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``."""
        for name in _KEPT:
            setattr(self, name, columns[f"slot.{name}"])
        self._open.restore(_part(columns, "open"))
        self._transforms.restore(_part(columns, "transform"))
        self.marks.restore(_part(columns, "marks"))
        self._room = self._open.room
        number = 0
        while lane := _part(columns, f"lane{number}"):
            self._lane_list.append(lane_of(lane))
            self.lanes[self._lane_list[-1].step, self._lane_list[-1].origin] = self._lane_list[-1]
            number += 1
        self.counts = dict(zip(COUNTS, columns["counts"].tolist(), strict=True))


def _prefixed(prefix: str, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}.{name}": column for name, column in columns.items()}


def _part(columns: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    start = prefix + "."
    return {name[len(start) :]: column for name, column in columns.items() if name.startswith(start)}
