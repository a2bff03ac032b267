"""The sentinel: the check that every step of every stream gets, scored against the stream's own past."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models import calibrate, evidence, histogram, level
from models.contract import TOKEN_CHANNELS, TOKEN_STEPS
from models.evidence import (
    CHANNELS,
    FULL,
    GAP,
    GAP_LONGEST,
    LEAN,
    PERIOD,
    PERIOD_COUNT,
    PERIOD_SUM,
    PHASE,
    READINGS,
    TOKENS,
    UNSET,
)
from models.seasonal import MINUTE, At
from stream.evidence_columns import Columns, Kept
from stream.sentinel_step import Seen, Step, chunks, slots_of

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

TOKEN_CHUNK = 512  # streams at a time where tokens are turned round
REFRESH = 32  # readings between two refreshes of a stream's calibration
REFRESH_YOUNG, YOUNG = 8, 400  # the same while it has seen fewer than so many
MOST_READINGS = 2**30  # the count stays near it, so that it never overflows
HALF_LIVES = (4, 16, 64)  # steps, of the tokens' memory
_DECAY = np.array([0.5 ** (1 / half) for half in HALF_LIVES], np.float32)[:, None, None]
_MEAN10 = np.float32(2 / 11)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the sentinel says of m streams at one step: arrays of length m, in the order of the slots."""

    surprise: F32  # s = -log10 of how rare the strongest evidence is, 0..8
    channel: I8  # the strongest, in CHANNELS
    score: F32  # s / bar; 1 = the alarm boundary
    p: F32  # tail probability, about uniform while nothing unusual happens; 1 in warm-up
    expected: F64  # in the stream's own units
    low: F64  # about 5 %
    high: F64  # about 95 %
    direction: I8  # sign of value - expected
    warm: Bools  # at least 100 readings came before
    accepted: Bools  # a level shift that stayed is the baseline from here on
    flat: F32  # run of equal values over the longest one before
    silent: F32  # 0: these streams have a reading

    def only(self, rows: Bools) -> Evidence:
        """The same of some of its streams."""
        return Evidence(*(getattr(self, name)[rows] for name in self.__slots__))


class Sentinel:
    """Scores each reading against its own stream's past, in O(1), before learning from it.

    What it says of a stream depends on that stream's readings and name alone: not on others, its slot, or how calls
    are cut. ``false_alarms``: nominal, per stream and day, at score 1. ``tokens``: whether it also
    remembers what a model reads of it.
    """

    def __init__(
        self, profile: Literal["full", "lean"] = "full", false_alarms: float = 0.1, tokens: bool = True
    ) -> None:
        self.profile = FULL if profile == "full" else LEAN
        self.false_alarms = false_alarms
        self._columns = Columns(self.profile, tokens)
        self._positions = np.array(self.profile.positions, np.int8)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, the room for growth included."""
        return self._columns.nbytes

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all columns, for a checkpoint."""
        return self._columns.save()

    def restore(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on exactly where ``columns`` was taken; raises ValueError where it came from another profile."""
        self._columns.load(columns)

    def take_out(self, slots: I32) -> dict[str, npt.NDArray[Any]]:
        """Copies of the columns of some streams, for ``put_in`` elsewhere."""
        return self._columns.take_out(slots)

    def put_in(self, slots: I32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on with these streams where ``take_out`` was called; raises ValueError for those of another profile."""
        self._columns.grow(int(slots.max(initial=-1)) + 1)
        self._columns.put_in(slots, columns)

    def grow(self, n: int) -> None:
        """Have columns for slots < n."""
        self._columns.grow(n)

    def start(self, slots: Sequence[int], names: Sequence[str], step_ns: int) -> None:
        """New streams, or slots used again: they begin anew. ``step_ns`` decides on the week table."""
        if not len(slots):
            return
        self.grow(max(slots) + 1)
        phases = [zlib.crc32(name.encode()) % REFRESH for name in names]
        week = np.full(len(phases), step_ns >= MINUTE)
        self._columns.reset(np.array(slots, np.int32), np.array(phases, np.int32), week)

    def absent(self, slots: Sequence[int] | I32 | Ix) -> None:
        """These streams have no reading at this step."""
        self._columns.counts[GAP, slots] += 1

    def runs(self, slots: Sequence[int] | At) -> tuple[F32, F32]:
        """Flat and silent, as in Evidence, of any streams, as of now."""
        counts = self._columns.counts[:, slots]
        warm = counts[READINGS] >= calibrate.WARM
        return evidence.flatness(counts, warm), evidence.silence(counts)

    def tokens(self, slots: Sequence[int] | I32 | Ix) -> F32:
        """Evidence tokens [m, TOKEN_STEPS, TOKEN_CHANNELS]: now, then memories of falling sharpness."""
        which = np.asarray(slots, np.intp)
        found = np.zeros((len(which), TOKEN_STEPS, TOKEN_CHANNELS), np.float32)
        for a in range(0, len(which), TOKEN_CHUNK):
            found[a : a + TOKEN_CHUNK] = self._tokens(which[a : a + TOKEN_CHUNK]).transpose(2, 0, 1)
        return found

    def _tokens(self, slots: Ix) -> F32:
        rows = [*self.profile.positions, *range(len(CHANNELS), len(TOKENS))]
        found = np.zeros((TOKEN_STEPS, TOKEN_CHANNELS, len(slots)), np.float32)
        found[0, rows] = self._columns.now.take(slots, axis=-1)
        found[1:, rows] = self._columns.past.take(slots, axis=-1)
        gap = self._columns.counts[GAP].take(slots)
        if gap.any():
            found[0] *= gap == 0
            found[1:] *= _DECAY**gap
        found[:, : len(CHANNELS)] *= np.float32(1 / calibrate.MOST)
        return found

    # --- one step

    def look(self, slots: I32, value: F64, ts: int, step_ns: int) -> Evidence:
        """Evidence of the streams that have a reading at the step that starts at ``ts`` (ns, UTC), then learn it.

        ``slots`` ascending, none twice; ``value`` finite.
        """
        step = Step.at(ts, step_ns, self.false_alarms)
        if not len(slots):
            return _nothing()
        if step.week is not None:
            self._columns.need_weeks(slots)
        with np.errstate(over="ignore"):
            parts = [self._look(at, value[a:b], step) for at, a, b in chunks(slots)]
        if len(parts) == 1:
            return Evidence(*parts[0])
        return Evidence(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _look(self, at: At, value: F64, step: Step) -> tuple[Any, ...]:
        """One chunk; the fields of Evidence."""
        kept = self._columns.take(at, self.profile.channels(step.week is not None))
        seen = self._see(at, kept, value, step)
        found, residual = evidence.gather_evidence(
            self.profile, kept.reals, seen.x, seen.outside, seen.day, seen.week, seen.change, seen.least, seen.young
        )
        said, away = level.expected(kept.exact, kept.reals, seen.x, seen.day, residual)
        surprise, row = self._calibrate(at, kept, found, seen)
        p = self._tail(at, surprise, seen)
        score = surprise / step.bar
        deviation = np.stack((seen.day, residual, seen.change))
        if len(kept.now):
            self._remember(kept, score, deviation)
        accepted = self._learn(at, kept, seen, deviation, step)
        flat = evidence.flatness(kept.counts, seen.warm)
        self._columns.put(at, kept)
        self._refresh(at, kept.counts, seen.least, 1 + len(found))
        direction, silent = np.sign(away).astype(np.int8), np.zeros(len(away), np.float32)
        return surprise, self._positions.take(row), score, p, *said, direction, seen.warm, accepted, flat, silent

    # --- what there is to see

    def _see(self, at: At, kept: Kept, value: F64, step: Step) -> Seen:
        readings = kept.counts[READINGS]
        least, half = int(readings.min()), value * 0.5
        if least == 0:
            evidence.enter(kept.exact, kept.counts, half)
        if kept.counts[GAP].any():
            _close_gaps(kept)
        x, grown = evidence.outgrown(kept.exact, half)
        if grown is not None:
            self._rescale(at, kept, *grown)
        warm, outside = readings >= calibrate.WARM, evidence.excess(kept.reals, x)
        if outside.max() > evidence.FAR:
            evidence.cut(kept.exact, kept.reals, outside, x, half, warm)
        evidence.widen(kept.reals, x)
        change, same = evidence.changed(kept.exact, half)
        evidence.run_lengths(kept.counts, same)
        if not step.whole:
            self._flush(at, kept, step)
        day, week = self._seasonal(at, kept, step, x)
        young = np.float32(1) / (readings + np.int32(1)).astype(np.float32)
        return Seen(x, outside, day, week, change, young, least, warm)

    def _rescale(self, at: At, kept: Kept, which: Ix, octaves: I32) -> None:
        """Tell all that is measured in the unit of these streams that it grew."""
        evidence.rescale(kept.reals, which, octaves)
        calibrate.lower_bases(kept.base[: self.profile.day + 1], which, octaves)
        calibrate.lower_bases(kept.base[self.profile.day + 2 :], which, octaves)  # but not the range, a ratio
        self._columns.rescale_tables(slots_of(at, which), octaves)

    def _seasonal(self, at: At, kept: Kept, step: Step, x: F32) -> tuple[F32, F32 | None]:
        """Residuals from the tables of the day and, where there is one, of the week."""
        otherwise = kept.reals[self.profile.spans.index(150)]
        day = x - self._columns.day.predict(step.day, at, otherwise)
        if step.week is None:
            return day, None
        return day, x - self._columns.week.predict(step.week, self._columns.weeks_of(at), otherwise)

    # --- how unusual it is

    def _calibrate(self, at: At, kept: Kept, found: F32, seen: Seen) -> tuple[F32, I8]:
        """The largest surprise and its row, after which the histograms learn; ``now`` holds all of them."""
        profile, channels = self.profile, len(found)
        bits = calibrate.bits_of(found)
        if kept.counts[UNSET].any():
            calibrate.set_bases(bits, kept.base, kept.counts[UNSET], profile.bins)
        bin, into = calibrate.locate(bits, kept.base, profile.bins)
        hist, edges, offsets = self._columns.bins(at, slice(1, 1 + channels))
        index = bin + offsets
        levels = calibrate.look_up(edges, index, into)
        calibrate.cap(profile, levels)
        out = kept.now[:channels] if len(kept.now) else None
        surprise = np.multiply(levels, calibrate.LEVELS, out=out)
        if seen.least < YOUNG:
            surprise *= kept.counts[READINGS] >= calibrate.speaks_from(profile, channels)
        calibrate.count(hist, index)
        return calibrate.strongest(surprise)

    def _tail(self, at: At, surprise: F32, seen: Seen) -> F32:
        """p, after which its histogram learns; 1 in warm-up."""
        bin, into = calibrate.locate_surprise(surprise, self.profile.bins)
        hist, edges, offsets = self._columns.bins(at, slice(0, 1))
        index = bin + offsets[0]
        p = calibrate.tail_probability(calibrate.look_up(edges, index, into))
        calibrate.count(hist, index if seen.least >= calibrate.WARM else index[seen.warm])
        return p

    # --- what is learned from it

    def _remember(self, kept: Kept, score: F32, deviation: F32) -> None:
        """Tokens of now, and their decaying maxima (of signed ones, averages)."""
        now, past, plain = kept.now, kept.past, len(self.profile.positions) + 1
        now[plain - 1] = score
        level.signed(kept.reals, deviation, now[plain : plain + 2])
        now[plain + 2] += (now[plain] - now[plain + 2]) * _MEAN10
        largest, average = past[:, :plain], past[:, plain:]
        largest *= _DECAY
        np.maximum(largest, now[:plain], out=largest)
        average += (now[plain:] - average) * (1 - _DECAY)

    def _learn(self, at: At, kept: Kept, seen: Seen, deviation: F32, step: Step) -> Bools:
        """Usual deviations, tables, the count; which streams accept a new level."""
        change = kept.reals[len(self.profile.spans) + self.profile.means - 1]
        level.learn_deviations(kept.reals, deviation, change, seen.young, step.hold)
        self._visit(at, kept, step, seen.x)
        accepted = np.zeros(len(seen.x), bool)
        which = level.disagreement(kept.reals, kept.counts, change, step.hold)
        if which is not None:
            accepted[which] = True
            by = level.accept(self.profile, kept.reals, which, step.hold)
            self._columns.shift_tables(slots_of(at, which), by)
        kept.counts[READINGS] += 1
        return accepted

    def _visit(self, at: At, kept: Kept, step: Step, x: F32) -> None:
        """Into the tables with it, or into the mean of 5 minutes that goes there later."""
        if not step.whole:
            kept.reals[PERIOD_SUM] += x
            kept.reals[PERIOD_COUNT] += 1
            return
        self._columns.day.visit(step.day, at, x)
        if step.week is not None:
            self._columns.week.visit(step.week, self._columns.weeks_of(at), x)

    def _flush(self, at: At, kept: Kept, step: Step) -> None:
        """The tables learn the mean of the last 5 minutes once these are over."""
        period, total, count = kept.counts[PERIOD], kept.reals[PERIOD_SUM], kept.reals[PERIOD_COUNT]
        over = period != step.period
        if not over.any():
            return
        which = np.flatnonzero(over & (count > 0))
        before = period[which]
        self._columns.visit_tables(before, slots_of(at, which), total[which] / count[which], step.week is not None)
        period[over] = step.period
        total[over] = 0
        count[over] = 0

    def _refresh(self, at: At, counts: I32, least: int, rows: int) -> None:
        """Refresh the calibration of the streams whose turn it is, by their own count: staggered, whatever the slot."""
        turn = counts[READINGS] + counts[PHASE]
        due = (turn & (REFRESH - 1)) == 0
        if least < YOUNG:
            due |= ((turn & (REFRESH_YOUNG - 1)) == 0) & (counts[READINGS] <= YOUNG)
        which = np.flatnonzero(due)
        if not len(which):
            return
        columns, slots = self._columns, slots_of(at, which)
        hist = columns.hist[:rows].take(slots, axis=1)  # unlike fancy indexing, always in C order
        base = columns.base[:rows].take(slots, axis=1)
        edges, changed = histogram.refresh(hist, base, columns.counts[READINGS, slots])
        columns.edges[:rows, slots] = edges
        if len(changed):
            row, stream = np.divmod(changed, len(slots))
            columns.hist[row, slots[stream]] = hist[row, stream]
            columns.base[row, slots[stream]] = base[row, stream]
        self._begin_anew(slots)

    def _begin_anew(self, slots: Ix) -> None:
        """Streams whose first reading was misplaced, once; and counts that would overflow go back."""
        columns = self._columns
        counts = columns.counts.take(slots, axis=1)
        old = slots[counts[READINGS] > MOST_READINGS]
        columns.counts[READINGS, old] -= MOST_READINGS // 2
        young = evidence.replaceable(counts)
        if young.any():
            slots = slots[young]
            misplaced = slots[evidence.misplaced(self.profile, columns.reals.take(slots, axis=1))]
            if len(misplaced):
                phases = columns.counts[PHASE, misplaced] + np.int32(evidence.MOVED)
                columns.reset(misplaced, phases, columns.week_row[misplaced] > 0)


def _nothing() -> Evidence:
    """What there is to say of no streams."""
    whole, real, small = np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.int8)
    none = np.zeros(0, bool)
    return Evidence(real, small, real, real, whole, whole, whole, small, none, none, real, real)


def _close_gaps(kept: Kept) -> None:
    """The streams are back: what they remember has decayed meanwhile."""
    gap, longest = kept.counts[GAP], kept.counts[GAP_LONGEST]
    which = np.flatnonzero(gap)
    kept.past[:, :, which] *= _DECAY ** gap[which]
    np.maximum(longest, gap, out=longest)
    gap[...] = 0
