"""Windows done plainly: every reading is kept in lists, and everything is worked out anew at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from connectors.batch import REFUSED, SECOND, Batch, StreamTable
from stream.aggregate import AGGREGATES, TRANSFORMS
from stream.lane import Tick
from stream.watermark import NEVER
from stream.window_state import COUNTS
from stream.windows import NewStreams, Windows

EPOCH = 1_700_000_000 * SECOND


@dataclass(frozen=True)
class Setting:
    step: int = SECOND
    origin: int = 0
    aggregate: str = "mean"
    transform: str = "none"
    missing: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reading:
    name: str
    ts: int
    value: float
    arrived: int
    partition: int = 0
    offset: int = 0
    backlog: bool = False


@dataclass(frozen=True)
class Poll:
    now: int
    readings: Sequence[Reading] = ()
    named: tuple[int, ...] = ()  # partitions whose position the poll tells
    at_end: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()

    def batch(self, slot_of: Mapping[str, int]) -> Batch:
        def column(values: Iterator[Any], dtype: type) -> np.ndarray:
            return np.array(list(values), dtype)

        return Batch(
            column((slot_of[r.name] for r in self.readings), np.int32),
            column((r.ts for r in self.readings), np.int64),
            column((r.arrived for r in self.readings), np.int64),
            column((r.value for r in self.readings), np.float64),
            column((r.partition for r in self.readings), np.int32),
            column((r.offset for r in self.readings), np.int64),
            dict.fromkeys(self.named, 0),
            self.at_end,
            self.ended,
            column((r.backlog for r in self.readings), np.bool_),
        )


@dataclass(frozen=True)
class Row:
    """What a frame says of one stream."""

    value: float
    present: bool
    steps: int
    valid: int
    rate: float
    window: tuple[float, ...]  # about the stream's first value


@dataclass(frozen=True)
class Frame:
    lane: tuple[int, int]
    k: int
    due: int
    arrived: int
    backlog: bool
    rows: dict[str, Row]

    @property
    def end(self) -> int:
        step, origin = self.lane
        return origin + (self.k + 1) * step


@dataclass(frozen=True)
class Limits:
    size: int = 4
    lateness: int = 2 * SECOND
    future: int = 60 * SECOND
    idle: int = 30 * SECOND
    ttl: int = 3600 * SECOND


class Driver:
    """The real windows, driven the way the monitor drives them; its frames call streams by their names."""

    def __init__(self, settings: Mapping[str, Setting], limits: Limits, refused: Sequence[str] = ()) -> None:
        self.settings, self.table, self._refused = settings, StreamTable(), refused
        self.windows = Windows(limits.size, limits.lateness, limits.future, limits.idle, limits.ttl)
        self.left: list[tuple[str, ...]] = []  # names let go, by occasion
        self.story: list[Frame | tuple[str, ...]] = []  # frames, and names let go between them

    def turn(self, poll: Poll) -> list[Frame]:
        names = {r.name for r in poll.readings}
        slot_of = {name: REFUSED if name in self._refused else -2 for name in names}
        for reading in poll.readings:
            if slot_of[reading.name] == -2:
                slot_of[reading.name] = self.table.slot(reading.name, "group")
        self.start(self.table.take_new())
        self.windows.add(poll.batch(slot_of), poll.now)
        frames = []
        for tick in chain(self.windows.ticks(poll.now), self._ended(poll.ended)):
            frames.append(self._frame(tick))
            self.story.append(frames[-1])
            self._let_go()
        self._let_go()
        return frames

    def _ended(self, partitions: tuple[int, ...]) -> Iterator[Tick]:
        if partitions:  # who is drained has no more frames, and may be let go after the next one
            self.story.append(tuple(self.settings))
        yield from self.windows.end(partitions)

    def start(self, slots: Sequence[int]) -> None:
        found = [self.settings[self.table.names[slot]] for slot in slots]
        most = max((len(s.missing) for s in found), default=0)
        missing = [[*s.missing, *[math.nan] * (most - len(s.missing))] for s in found]
        self.windows.start(
            NewStreams(
                np.array(slots, np.int32),
                np.array([s.step for s in found], np.int64),
                np.array([s.origin for s in found], np.int64),
                np.array([AGGREGATES.index(s.aggregate) for s in found], np.int8),
                np.array([TRANSFORMS.index(s.transform) for s in found], np.int8),
                np.array(missing, float).reshape(len(found), most),
            )
        )

    def _let_go(self) -> None:
        leave, anew = self.windows.gone()
        if leave.size or anew.size:
            self.left.append(tuple(sorted(self.table.names[slot] for slot in [*leave, *anew])))
            self.story.append(self.left[-1])
        if leave.size:
            self.windows.release(leave)
            self.table.release(leave.tolist())
        self.start(anew.tolist())

    def _frame(self, tick: Tick) -> Frame:
        windows, slots = self.windows, tick.slots
        assert (np.diff(slots) > 0).all()
        assert tick.end == tick.start + tick.step and tick.value.shape == tick.present.shape == slots.shape
        held = windows.window(slots, tick.k).astype(float).tolist()
        rows = {
            self.table.names[slot]: Row(
                float(tick.value[i]),
                bool(tick.present[i]),
                int(windows.steps[slot]),
                int(windows.valid[slot]),
                float(windows.rate[slot]),
                tuple(held[i]),
            )
            for i, slot in enumerate(slots.tolist())
        }
        return Frame(tick.lane, tick.k, tick.due, tick.arrived, tick.backlog, rows)


@dataclass
class _Partition:
    used: list[tuple[int, int]] = field(default_factory=list)  # event time, arrival
    offsets: list[int] = field(default_factory=list)
    heard: int = NEVER
    known: bool = False
    at_end: bool = False


class Reference:
    """Says what Driver must say."""

    def __init__(self, settings: Mapping[str, Setting], limits: Limits, refused: Sequence[str] = ()) -> None:
        self._settings, self._limits, self._refused = settings, limits, refused
        self._partitions: dict[int, _Partition] = {}
        self._lanes: list[tuple[int, int]] = []
        self._closed: dict[tuple[int, int], int] = {}
        self._kept: dict[str, dict[int, list[Reading]]] = {}  # by stream and step
        self._begin: dict[str, int] = {}  # streams that there are, and the step after which they began
        self._left_at: dict[str, int] = {}  # streams that left, and the last step closed then
        self._since: dict[str, int] = {}  # those without a reading: from when they have been waiting for one
        self._from: dict[str, int] = {}  # the partition that brought a stream's newest reading
        self._ending: set[str] = set()
        self._behind_until = NEVER
        self.mark, self._delay = NEVER, 0
        self.counts = dict.fromkeys(COUNTS, 0)
        self.left: list[tuple[str, ...]] = []

    # -- readings come in

    def turn(self, poll: Poll) -> list[Frame]:
        for p in (*poll.named, *poll.at_end, *poll.ended, *(r.partition for r in poll.readings)):
            part = self._partitions.setdefault(p, _Partition())
            if not part.known:
                part.known, part.heard = True, max(part.heard, poll.now)
        for p, part in self._partitions.items():
            part.at_end = p in poll.at_end
        self._meet({r.name for r in poll.readings if r.name not in self._refused})
        before = {p: max(part.offsets, default=-1) for p, part in self._partitions.items()}
        highest = dict.fromkeys(before, -1)
        kept_from = self.mark
        for reading in poll.readings:
            again = reading.offset <= before[reading.partition] or reading.offset < highest[reading.partition]
            highest[reading.partition] = max(highest[reading.partition], reading.offset)
            self._partitions[reading.partition].offsets.append(reading.offset)
            self._take(reading, again, poll.now, kept_from)
        self._move(poll.now)
        frames = list(self._close(self.mark))
        if poll.ended:
            frames += self._end(poll.ended)
        self._let_go()
        return frames

    def _meet(self, names: set[str]) -> None:
        for name in sorted(names - self._begin.keys()):
            self._begin[name] = self._left_at.get(name, NEVER)
            if self._lane(name) not in self._lanes:
                self._lanes.append(self._lane(name))

    def _lane(self, name: str) -> tuple[int, int]:
        return self._settings[name].step, self._settings[name].origin % self._settings[name].step

    def _take(self, reading: Reading, again: bool, now: int, mark: int) -> None:
        self.counts["readings"] += 1
        part = self._partitions[reading.partition]
        future = reading.ts > reading.arrived + self._limits.future
        limit = max((ts for ts, _ in part.used), default=NEVER) - self._limits.lateness
        if not future and not again:
            part.used.append((reading.ts, reading.arrived))
            part.heard = max(part.heard, now)
        reason = "future" if future else "duplicate" if again else self._fault(reading, limit)
        if reason is None:
            self._behind_until = now if reading.backlog else self._behind_until
            lane = self._lane(reading.name)
            k = (reading.ts - lane[1]) // lane[0]
            self._from[reading.name] = reading.partition
            self._ending.discard(reading.name)
            if _end(lane, k) <= mark or k <= self._closed.get(lane, NEVER):
                reason = "late"
            else:
                self._kept.setdefault(reading.name, {}).setdefault(k, []).append(reading)
        if reason is not None:
            self.counts[reason] += 1

    def _fault(self, reading: Reading, limit: int) -> str | None:
        if reading.name in self._refused:
            return "refused"
        if math.isnan(reading.value) or reading.value in self._settings[reading.name].missing:
            return "missing"
        if math.isinf(reading.value):
            return "not_finite"
        lane = self._lane(reading.name)
        return "late" if _end(lane, (reading.ts - lane[1]) // lane[0]) <= limit else None

    # -- event time

    def _move(self, now: int) -> None:
        known = [part for part in self._partitions.values() if part.known]
        counting = [part for part in known if not self._quiet(part, now)]
        if not counting:
            moving = [part for part in known if part.at_end and part.used]
            counting = [max(moving, key=lambda part: self._each(part, now))] if moving else [p for p in known if p.used]
        if counting:
            self.mark = max(self.mark, min(self._each(part, now) for part in counting))
        delays = [_newest(part)[1] - _newest(part)[0] for part in counting if part.at_end and part.used]
        self._delay = max([0, *delays])

    def _quiet(self, part: _Partition, now: int) -> bool:
        return now - part.heard > self._limits.idle or (part.at_end and not part.used)

    def _each(self, part: _Partition, now: int) -> int:
        if not part.used:
            return NEVER
        ts, arrived = _newest(part)
        return ts + (max(0, now - arrived) if part.at_end else 0) - self._limits.lateness

    # -- frames come out

    def _end(self, ended: tuple[int, ...]) -> Iterator[Frame]:
        for p in ended:
            self._partitions[p].known = False
        self._ending |= {name for name in self._begin if self._from.get(name) in ended}
        if not any(part.known for part in self._partitions.values()):
            yield from self._close(None)

    def _close(self, mark: int | None) -> Iterator[Frame]:
        while True:
            ready = [(_end(lane, k), lane, k) for lane in self._lanes if (k := self._next(lane, mark)) is not None]
            if not ready:
                return
            end, lane, k = min(ready)
            frame = self._frame(lane, k)
            self._closed[lane] = k
            if frame is not None:
                self.mark = max(self.mark, end)
                yield frame
                self._let_go()

    def _next(self, lane: tuple[int, int], mark: int | None) -> int | None:
        """The step to close if it is time: the one after the last while a stream lives, else one with a reading."""
        names = [name for name in self._begin if self._lane(name) == lane]
        closed = self._closed.get(lane, NEVER)
        open_steps = [k for name in names for k in self._steps(name) if k > closed]
        alive = [name for name in names if any(k <= closed for k in self._steps(name))]
        top = max((k for name, steps in self._kept.items() if self._lane(name) == lane for k in steps), default=NEVER)
        k = closed + 1 if alive else min(open_steps, default=None)
        if k is None:
            return None
        return k if (k <= top if mark is None else _end(lane, k) <= mark) else None

    def _steps(self, name: str) -> list[int]:
        """The steps of a stream's life that have readings."""
        return [k for k in self._kept.get(name, ()) if k > self._begin[name]]

    def _frame(self, lane: tuple[int, int], k: int) -> Frame | None:
        rows = {}
        for name in self._begin:
            steps = self._steps(name) if self._lane(name) == lane else []
            if steps and min(steps) <= k and not (name in self._ending and max(steps) < k):
                rows[name] = self._row(name, k)
        if not rows:
            return None
        here = [r for name, steps in self._kept.items() if self._lane(name) == lane for r in steps.get(k, ())]
        due = _end(lane, k) + self._limits.lateness + self._delay
        arrived = max((r.arrived for r in here), default=0)
        backlog = all(r.backlog for r in here) if here else due <= self._behind_until
        return Frame(lane, k, due, arrived, backlog, rows)

    def _row(self, name: str, now: int) -> Row:
        first = min(self._steps(name))
        values = self._values(name, now)
        heard = [k for k in range(first, now + 1) if k in values]
        offset = values[heard[0]] if heard else 0.0
        with np.errstate(over="ignore"):
            cells = [
                np.float32(values[k] - offset) if k in values else math.nan
                for k in range(now - self._limits.size + 1, now + 1)
            ]
        window = tuple(float(np.clip(cell, -3e38, 3e38)) for cell in cells)
        valid = sum(1 for k in heard if k > now - self._limits.size)
        return Row(
            values.get(now, math.nan), now in values, len(heard), valid, self._rate(name, first, now, heard), window
        )

    def _values(self, name: str, now: int) -> dict[int, float]:
        """By step, what the transform makes of each; steps without a value are left out."""
        setting = self._settings[name]
        out: dict[int, float] = {}
        before: tuple[int, float] | None = None
        for k in sorted(k for k in self._steps(name) if k <= now):
            raw = _aggregate(setting.aggregate, self._kept[name][k])
            if not math.isfinite(raw):
                continue
            value = _transform(setting, before, (k, raw))
            before = k, raw
            if value is not None and math.isfinite(value):
                out[k] = value
        return out

    def _rate(self, name: str, first: int, now: int, heard: list[int]) -> float:
        seconds = self._settings[name].step / 1e9
        share = min(1.0, max(seconds / 60, 1 / 64))
        rate = 0.0
        for k in range(first, now + 1):
            new = len(self._kept[name].get(k, ())) / seconds
            rate = rate + share * (new - rate) if sum(1 for h in heard if h <= k) > 1 else new
        return rate

    # -- streams leave

    def _let_go(self) -> None:
        gone = [name for name in self._begin if self._leaves(name)]
        if gone:
            self.left.append(tuple(sorted(gone)))
        for name in gone:
            lane = self._lane(name)
            self._begin[name] = self._closed.get(lane, NEVER)
            self._since.pop(name, None)
            if not self._steps(name):
                self._left_at[name] = self._begin.pop(name)
                self._ending.discard(name)
                self._from.pop(name, None)

    def _leaves(self, name: str) -> bool:
        lane = self._lane(name)
        closed, steps = self._closed.get(lane, NEVER), self._steps(name)
        if not steps:
            if self._since.setdefault(name, self.mark) == NEVER:
                self._since[name] = self.mark
            silent = self._since[name] > NEVER and self.mark - self._since[name] >= self._limits.ttl
            return silent or name in self._ending
        if name in self._ending and max(steps) <= closed:
            return True
        past = [k for k in steps if k <= closed]
        most = max(-(-self._limits.ttl // lane[0]), self._limits.size)
        return bool(past) and closed - max(past) >= most


def _end(lane: tuple[int, int], k: int) -> int:
    return lane[1] + (k + 1) * lane[0]


def _newest(part: _Partition) -> tuple[int, int]:
    """The reading with the highest event time, of several the first."""
    return max(part.used, key=lambda used: used[0])


def _aggregate(how: str, readings: list[Reading]) -> float:
    values = [r.value for r in readings]
    if how == "last":
        newest = max(r.ts for r in readings)
        return [r.value for r in readings if r.ts == newest][-1]
    total = 0.0
    for value in values:
        total += value
    return {
        "mean": total / len(values),
        "sum": total,
        "min": min(values),
        "max": max(values),
        "count": float(len(values)),
    }[how]


def _transform(setting: Setting, before: tuple[int, float] | None, now: tuple[int, float]) -> float | None:
    if setting.transform == "none":
        return now[1]
    if before is None:
        return None
    if setting.transform == "delta":
        return now[1] - before[1]
    if setting.transform == "rate":
        grown = now[1] if now[1] < before[1] else now[1] - before[1]
        return grown / ((now[0] - before[0]) * (setting.step / 1e9))
    ratio = now[1] / before[1] if before[1] else math.nan
    return math.log(ratio) if ratio > 0 and math.isfinite(ratio) else None
