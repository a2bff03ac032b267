"""Sliding windows: readings into steps, steps into rings, a tick for each step that event time closes."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Floats, Ints, Times
from connectors.keeping.store import StoreError
from models.contract import F32
from stream.lane import At, Bools, Held, Lane, Tick, joined, place_of
from stream.watermark import NEVER, distinct
from stream.window_state import MOVED, PER_SLOT, WindowState, part_of, prefixed

HUGE = 3e38  # the ring is float32: differences are cut to what it holds


@dataclass(frozen=True, slots=True)
class NewStreams:
    """Streams that begin, in columns [m]; ``missing`` [m, v] holds values that mean "no value", padded with NaN."""

    slots: Ints
    step: Times
    origin: Times
    aggregate: npt.NDArray[np.int8]
    transform: npt.NDArray[np.int8]
    missing: Floats


class Windows(WindowState):
    """Per-stream columns over slots; a ring holds the last ``size`` steps, about the stream's own first value.

    The streams of a tick all stand at the same place of their rings, so their windows are two slices. Open steps live
    apart (aggregate.OpenSteps), so the ring needs no room for lateness. Times are ns; ``ttl`` is how long a stream
    may bring nothing before it is let go (never less than one window).
    """

    # -- streams come and go

    def start(self, new: NewStreams) -> None:
        """Streams that are new, or that begin anew (on another raster, or after a silence longer than ``ttl``)."""
        if new.slots.size == 0:
            return
        self.grow(int(new.slots.max()) + 1)
        before = self.lane[new.slots]
        self._clear(new.slots)
        origin = new.origin % new.step
        self._step[new.slots], self._origin[new.slots] = new.step, origin
        self._open.how[new.slots], self._transforms.how[new.slots] = new.aggregate, new.transform
        self._transforms.seen[new.slots] = False
        self._set_missing(new.slots, new.missing)
        for step, at in np.unique(np.stack([new.step, origin], 1), axis=0).tolist():
            self._join(new.slots[(new.step == step) & (origin == at)], self._lane_number(step, at))
        self._move(new.slots[(before >= 0) & (before != self.lane[new.slots])], distinct(before))

    def _clear(self, slots: Ints) -> None:
        """Take streams out of their lanes and forget what they had; what is open or waits stays."""
        for number in distinct(self.lane[slots]):
            if number >= 0:
                lane = self.lanes[number]
                lane.slots = np.setdiff1d(lane.slots, slots).astype(np.int32)
        for name in ("lane", "last", "_since", "_after", "valid", "steps", "rate"):
            getattr(self, name)[slots] = PER_SLOT[name]
        self._ring[slots] = np.nan

    def _move(self, slots: Ints, numbers: Sequence[int]) -> None:
        """On another raster, what waits in the lanes ``numbers`` is sorted anew; what is open is forgotten."""
        if slots.size == 0:
            return
        self._open.clear(slots)
        self._newest[slots] = NEVER
        found = [piece for number in numbers if number >= 0 for piece in self.lanes[number].take_out(slots)]
        if found:
            old = joined(found)
            k = (old.ts - self._origin[old.slot]) // self._step[old.slot]
            self._hold(Held(k, old.slot, old.ts, old.arrived, old.value, old.backlog))

    def _set_missing(self, slots: Ints, missing: Floats) -> None:
        wider = missing.shape[1] - self._missing.shape[1]
        if wider > 0:
            self._missing = np.hstack([self._missing, np.full((len(self._missing), wider), np.nan)])
        self._missing[slots] = np.nan
        self._missing[slots, : missing.shape[1]] = missing

    def release(self, slots: Ints) -> None:
        """Streams that left, with all that they had."""
        for number in distinct(self.lane[slots]):
            if number >= 0:
                self.lanes[number].take_out(slots)
        self._clear(slots)
        self._open.clear(slots)
        self._newest[slots], self.partition[slots], self._ending[slots] = NEVER, -1, False

    # -- readings come in

    def add(self, batch: Batch, now: int) -> None:
        """Sort a poll into steps; what can't be used is counted. Streams must have been started before."""
        future = batch.ts > batch.arrived + self._future
        limit, again = self.marks.observe(batch, ~future, now)
        if len(batch) == 0:
            return
        self.counts["readings"] += len(batch)
        if self._begins:
            self._go_back(batch)
        slot = np.maximum(batch.stream, 0)
        start, step = self._rasters(slot)
        k = (batch.ts - start) // step
        missing = np.isnan(batch.value)
        for column in range(self._missing.shape[1]):
            missing |= batch.value == self._missing[slot, column]
        reasons = {
            "future": future,
            "duplicate": again,
            "refused": batch.stream < 0,
            "missing": missing,
            "not_finite": np.isinf(batch.value),
            "late": (limit >= start + (k + 1) * step) | (batch.ts <= NEVER),
        }
        unused = functools.reduce(np.logical_or, reasons.values())
        if not unused.any():
            self._place(batch, k, now)
        else:
            self._count(reasons)
            self._place(batch.take(~unused), k[~unused], now)

    def _rasters(self, slot: Ints) -> tuple[Times | int, Times | int]:
        """Origin and step of each of these streams; one for all while they share a lane."""
        if len(self.lanes) == 1:
            return self.lanes[0].origin, self.lanes[0].step
        return self._origin[slot], self._step[slot]

    def _go_back(self, batch: Batch) -> None:
        """The first readings of partitions that may be far behind: lanes go back to them."""
        for partition in self._begins.intersection(distinct(batch.partition)):
            self._begins.discard(partition)
            new = self.partition < 0
            self._go_back_to(np.flatnonzero(new).astype(np.int32), batch.ts[batch.partition == partition])

    def _go_back_to(self, slots: Ints, ts: Times) -> None:
        """The first readings of streams that have none closed yet: all lanes go back to these, for them alone."""
        if slots.size == 0 or ts.size == 0:
            return
        time = int(ts.min()) - self.lateness
        self.marks.go_back(time)
        for lane in self.lanes:
            if lane.closed is not None and lane.last_before(time) < lane.closed:
                self._part_from(lane, np.setdiff1d(lane.slots, slots), lane.last_before(time))

    def _part_from(self, lane: Lane, others: Ints, k: int) -> None:
        """A lane goes back to step ``k``; streams that were closed up to a later one wait until it is there again."""
        assert lane.closed is not None
        self._after[others] = np.maximum(self._after[others], lane.closed)
        lane.go_back(k)

    def _count(self, reasons: Mapping[str, Bools]) -> None:
        """Count each reading once, by the first reason it can't be used for."""
        left = np.ones_like(reasons["late"])
        for reason, rows in reasons.items():
            self.counts[reason] += int(np.count_nonzero(rows & left))
            left &= ~rows

    def _place(self, batch: Batch, k: Times, now: int) -> None:
        """Readings that can be used, each with the number of its step."""
        if len(batch) == 0:
            return
        slot = batch.stream
        self.partition[slot] = batch.partition
        self._ending[slot] = False
        backlog = np.zeros(len(batch), bool) if batch.backlog is None else batch.backlog
        if backlog.any():
            self._behind_until = now
        self._hold(Held(k, slot, batch.ts, batch.arrived, batch.value, backlog))

    def _hold(self, new: Held) -> None:
        """Readings wait by lane until their step has room."""
        if len(self.lanes) == 1:
            self._hold_in(self.lanes[0], new)
            return
        lanes = self.lane[new.slot]
        numbers = distinct(lanes)
        for number in numbers:
            self._hold_in(self.lanes[number], new if len(numbers) == 1 else new.only(lanes == number))

    def _hold_in(self, lane: Lane, new: Held) -> None:
        """Readings of one lane; those of steps that event time has closed are late."""
        closed = lane.last_before(self.marks.now)
        on_time = new.k > (closed if lane.closed is None else max(closed, lane.closed))
        if lane.closed is not None and lane.apart > lane.closed:
            on_time &= new.k > self._after[new.slot]
        if not on_time.all():
            self.counts["late"] += int(np.count_nonzero(~on_time))
            new = new.only(on_time)
        if new.k.size:
            new = new.sorted()
            first = lane.next is None
            lane.top = int(new.k[-1]) if first else max(lane.top, int(new.k[-1]))
            self._newest[new.slot] = np.maximum(self._newest[new.slot], new.k)  # ascending: the highest stays
            self._insert(lane, new)

    def _insert(self, lane: Lane, new: Held | None = None) -> None:
        """Put what waits, and what is new, into the open steps as far as there is room."""
        if lane.closed is None:
            if new is not None:
                lane.wait(new)
            return
        last = lane.closed + self._room
        ready = lane.ready(last) if lane.waiting else None
        if new is not None and new.k[-1] > last:
            new, rest = new.cut(last)
            lane.wait(rest)
        if ready is not None and new is not None:
            ready = joined([ready, new])
        ready = new if ready is None else ready
        if ready is not None and ready.k.size:
            self._open.add(ready.k % self._room, ready.slot, ready.ts, ready.value)
            lane.note(ready)

    # -- frames come out

    def ticks(self, now: int) -> Iterator[Tick]:
        """The ticks that event time has closed, in the order of their ends; each is in the rings when it comes."""
        yield from self._close_until(self.marks.advance(now))

    def pending(self, now: int) -> int:
        """How many ticks the watermark has come to close, lanes without a live stream left out."""
        mark = self.marks.advance(now)
        begun = [(lane, k) for lane in self.lanes if (k := self._next_frame(lane)) is not None]
        return sum(max(0, lane.last_before(mark) - k + 1) for lane, k in begun)

    def end(self, partitions: tuple[int, ...]) -> Iterator[Tick]:
        """Partitions that bring nothing more: their streams leave after their last reading; no gap, no silence."""
        if not partitions:
            return
        alone = self.marks.end(partitions)
        self._ending |= np.isin(self.partition, partitions) & (self.lane >= 0)
        for lane in self.lanes:
            lane.steady = NEVER
        if alone:
            yield from self._close_until(None)

    def _close_until(self, mark: int | None) -> Iterator[Tick]:
        """Close steps up to the watermark; without one, all that hold a reading."""
        queue: list[tuple[int, int, int]] = []  # end, step (of those that end together), number of the lane
        for number, lane in enumerate(self.lanes):
            if lane.slots.size and lane.next is not None:
                queue.append((lane.end_of(lane.next), lane.step, number))
        heapq.heapify(queue)
        while queue:
            end, _, number = heapq.heappop(queue)
            lane = self.lanes[number]
            k = lane.next
            assert k is not None
            if (k > lane.top) if mark is None else (end > mark):
                continue
            if lane.closed is None:
                lane.closed = k - 1
                self._insert(lane)
            slots = self._live(lane, k)
            if slots.size:
                tick = self._close(lane, k, slots)
                self.marks.reach(end)
                yield tick
            else:
                self._skip(lane, k, lane.top if mark is None else lane.last_before(mark))
            heapq.heappush(queue, (lane.end_of(lane.closed + 1), lane.step, number))

    def _live(self, lane: Lane, k: int) -> Ints:
        """Streams of a lane that have begun by step ``k``, and have not been drained before it."""
        slots, at = lane.slots, place_of(lane.slots)
        live = (self.last[at] > NEVER) | (self._open.count[k % self._room, at] > 0)
        ending = self._ending[at]
        if ending.any():
            live &= ~(ending & (self._newest[at] < k))
        if k <= lane.apart:
            live &= self._after[at] < k
        return slots if live.all() else slots[live]

    def _skip(self, lane: Lane, k: int, last: int) -> None:
        """No stream is live in this lane: the steps up to the next reading are closed at once."""
        lane.pass_step(k)
        if k <= lane.apart:  # not beyond the step after which others take part
            after = self._after[lane.slots]
            last = min(last, int(after[after >= k].min(initial=lane.apart)))
        reading = lane.next_reading
        lane.closed = max(k, last if reading is None else min(last, reading - 1))
        self._insert(lane)

    def _close(self, lane: Lane, k: int, slots: Ints) -> Tick:
        seconds = lane.step / 1e9
        at = place_of(slots)
        raw, count = self._open.take(k % self._room, at)
        value = self._transforms.apply(slots, raw, k, seconds)
        present = np.isfinite(value)
        self.last[at] = np.where(count > 0, k, self.last[at])
        self._write(k, at, value, present)
        self._measure_rate(at, count, seconds)
        start = lane.origin + k * lane.step
        due = start + lane.step + self.lateness + self.marks.delay
        arrived, waited = lane.pass_step(k)
        backlog = waited if arrived else due <= self._behind_until
        self._insert(lane)
        return Tick((lane.step, lane.origin), k, lane.step, start, due, slots, value, present, arrived, backlog)

    def _write(self, k: int, at: At, value: Floats, present: Bools) -> None:
        place = k % self.size
        first = present & (self.steps[at] == 0)
        if first.any():
            self.offset[at] = np.where(first, value, self.offset[at])
        before = self._ring[at, place]
        self.valid[at] += present.astype(np.int32) - (before == before)  # NaN, of all values, differs from itself
        self.steps[at] += present
        with np.errstate(over="ignore", invalid="ignore"):
            held = np.clip(np.where(present, value, np.nan) - self.offset[at], -HUGE, HUGE)
        self._ring[at, place] = held

    def _measure_rate(self, at: At, count: npt.NDArray[np.int32], seconds: float) -> None:
        """An average over about a minute."""
        a = np.float32(min(1.0, max(seconds / 60, 1 / 64)))
        new = count * np.float32(1 / seconds)
        rate = self.rate[at]
        self.rate[at] = np.where(self.steps[at] > 1, rate + a * (new - rate), new)

    def window(self, slots: Ints, k: int) -> F32:
        """The last ``size`` steps of some streams up to step ``k`` [m, size], about ``offset``; NaN = no reading."""
        newest = k % self.size + 1  # the streams of a tick all stand at the same place of their rings
        out = np.empty((slots.size, self.size), np.float32)
        out[:, : self.size - newest] = self._ring[slots, newest:]
        out[:, self.size - newest :] = self._ring[slots, :newest]
        return out

    def gone(self) -> tuple[Ints, Ints]:
        """Streams to let go (drained to their end, or silent for ``ttl``), and those of them that begin anew at once.

        The latter have readings that wait: after so long a silence they are new streams of the old name.
        """
        found = [self._gone(lane) for lane in self.lanes if lane.closed is None or lane.closed >= lane.steady]
        leave, anew = ([pair[which] for pair in found if pair[which].size] for which in (0, 1))
        return _all(leave), _all(anew)

    def _gone(self, lane: Lane) -> tuple[Ints, Ints]:
        slots = lane.slots
        last, newest, ending = self.last[slots], self._newest[slots], self._ending[slots]
        closed = NEVER if lane.closed is None else lane.closed
        most = max(-(-self._ttl // lane.step), self.size)
        heard = last > NEVER
        stale = (closed - last >= most) & heard
        over = ending & (newest <= closed) | self._unheard(slots)
        if heard.all() and not ending.any():
            lane.steady = int(last.min(initial=closed)) + most
        return slots[over | (stale & (newest <= closed))], slots[stale & (newest > closed) & ~over]

    def _unheard(self, slots: Ints) -> Bools:
        """Streams that never brought a reading that could be used, for ``ttl`` since they were first seen."""
        first = slots[self._since[slots] == NEVER]
        self._since[first] = self.marks.now
        since = self._since[slots]
        silent = (since > NEVER) & (self.marks.now - since >= self._ttl)
        unheard: Bools = silent & (self._newest[slots] == NEVER)
        return unheard

    def next_due(self) -> int | None:
        """When the next frame that holds a live stream is due if no reading comes (ns); None while nothing is."""
        ends = [lane.end_of(k) for lane in self.lanes if (k := self._next_frame(lane)) is not None]
        return self.marks.when(min(ends)) if ends else None

    def _next_frame(self, lane: Lane) -> int | None:
        if lane.closed is not None and (self.last[lane.slots] > NEVER).any():
            return lane.closed + 1
        return lane.next_reading if lane.slots.size else None

    # -- streams move between processes

    def take(self, slots: Ints, partition: int) -> dict[str, npt.NDArray[Any]]:
        """All that ``put`` needs of some streams, which stay; ``partition`` is the one that brings them."""
        lanes = [self.lanes[number] for number in distinct(self.lane[slots]) if number >= 0]
        steps = [[lane.step, lane.origin, k, *lane.open[k]] for lane in lanes for k in lane.open]
        columns: dict[str, npt.NDArray[Any]] = {f"slot.{name}": getattr(self, name)[slots] for name in MOVED}
        columns |= prefixed("open", self._open.take_out(slots)) | prefixed(
            "transform", self._transforms.take_out(slots)
        )
        columns |= {"closed": self._closed(slots), "steps": np.array(steps, np.int64).reshape(-1, 5)}
        columns |= {"marks": self.marks.take(partition)}
        held = [piece.only(np.isin(piece.slot, slots)) for lane in lanes for piece in lane.waiting]
        if held:
            waiting, order = joined(held), np.argsort(slots)
            columns |= {f"held.{f}": getattr(waiting, f) for f in Held.__slots__}
            columns["held.slot"] = order[np.searchsorted(slots, waiting.slot, sorter=order)].astype(np.int32)
        return columns

    def _closed(self, slots: Ints) -> Times:
        """The last step that is closed for each stream [m]; NEVER where none was."""
        none = [NEVER if lane.closed is None else lane.closed for lane in self.lanes] + [NEVER]
        return np.maximum(np.array(none, np.int64)[self.lane[slots]], self._after[slots])

    def put(self, slots: Ints, partition: int, columns: Mapping[str, npt.NDArray[Any]], now: int) -> None:
        """Streams that ``take`` gave elsewhere, in slots that are free here, exactly as far as they were there.

        Where a lane is further than they are it goes back to them, and its own streams wait until they have caught
        up; where it is not as far, they wait. ``now`` (ns) is the clock's.
        """
        self.marks.put(partition, columns["marks"], now)
        if slots.size == 0:
            self._begins.add(partition)
            return
        self.grow(int(slots.max()) + 1)
        self._make_room(len(columns["open.total"]))
        self._take_in(slots, columns)
        self.partition[slots], self._ending[slots] = partition, False
        step, origin, closed = self._step[slots], self._origin[slots], columns["closed"]
        for at in np.unique(np.stack([step, origin], 1), axis=0).tolist():
            rows = (step == at[0]) & (origin == at[1])
            number = self._lane_number(*at)
            self._join(slots[rows], number)
            self._meet(self.lanes[number], slots[rows], closed[rows])
        for *at, k, arrived, waited in columns["steps"].tolist():
            lane = self.lanes[self._lane_number(*at)]
            if lane.closed is None or k > lane.closed:
                lane.meet(k, arrived, bool(waited))
        self._open.put(slots, closed, part_of(columns, "open"))
        for number in distinct(self.lane[slots]):
            self._insert(self.lanes[number])
        if "held.k" in columns:
            held = Held(*(columns[f"held.{f}"] for f in Held.__slots__))
            self._go_back_to(slots[closed == NEVER], held.ts)
            self._hold(replace(held, slot=slots[held.slot]))

    def begin(self, partition: int, now: int) -> None:
        """A partition that others may have read before: it may be far behind, and is not late for that."""
        self.marks.leave(partition)
        self.marks.meet(partition, now)
        self._begins.add(partition)

    def leave(self, partition: int) -> None:
        """Another process reads it from now on; its streams were released."""
        self.marks.leave(partition)
        self._begins.discard(partition)

    def _take_in(self, slots: Ints, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The columns that are the same wherever a stream is."""
        if columns["slot._ring"].shape[1] != self.size:
            raise StoreError(f"the state holds windows of {columns['slot._ring'].shape[1]} steps, not {self.size}")
        self._set_missing(slots, columns["slot._missing"])
        for name in MOVED:
            if name != "_missing":
                getattr(self, name)[slots] = columns[f"slot.{name}"]
        self._transforms.put(slots, part_of(columns, "transform"))

    def _meet(self, lane: Lane, slots: Ints, closed: Times) -> None:
        """Streams have joined a lane, each closed up to a step of its own: it goes on from the first of these."""
        self._after[slots] = closed
        begun = closed[closed > NEVER]
        if begun.size:
            first = int(begun.min())
            if lane.closed is None:
                waiting = lane.first_waiting
                lane.closed = first if waiting is None else min(first, waiting - 1)
            elif first < lane.closed:
                self._part_from(lane, np.setdiff1d(lane.slots, slots), first)
            lane.apart = max(lane.apart, int(begun.max()))
        lane.top = max(lane.top, int(self._newest[slots].max()))


def _all(slots: list[Ints]) -> Ints:
    return np.concatenate(slots) if slots else np.empty(0, np.int32)
