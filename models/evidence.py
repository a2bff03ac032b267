"""Own evidence: how unusual a reading is for its stream, at several scales, as columns [channel, stream].

All functions take columns of m streams and change them in place. A stream's columns depend on its own readings
alone. Everything is scored before it is updated.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp]

CHANNELS = (
    "residual_3",  # |x - average of span 3|, and so on
    "residual_100",
    "residual_300",
    "shift_15",  # |average of span 15 - average of span 100|
    "shift_50",  # 50 against 300
    "shift_150",  # 150 against 750
    "shift_5",  # 5 against 30
    "day",  # |x - what this time of day is like|
    "range",  # how far outside everything seen so far, in units of its width
    "mean_30",  # short means of absolute residuals: of span 30
    "mean_10",
    "mean_day",
    "drift_day",  # |short mean of the signed residual by time of day|
    "change",  # short mean of |x - last x|
    "mean_week",
    "week",  # |x - what this hour of the week is like|
)
SIGNED = ("residual", "step", "mean_residual")
TOKENS = (*CHANNELS, "score", *SIGNED)
"""Channels of a token. 0..15: surprise / 8; score: s / bar; then, signed, 2 = 8 times the usual: the residual from the
average of span 15, the step from the last reading, and the mean of that residual over about 10 readings."""

FIRST, LAST, SCALE = range(3)  # rows of `exact`; values halved, so that differences can't overflow
READINGS, PHASE, UNSET, FLAT, FLAT_LONGEST, GAP, GAP_LONGEST, PERIOD, HITS = range(9)  # rows of `counts`
LOW, HIGH, DEV_SEASON, DEV_LEVEL, DEV_CHANGE, DRIFT, PERIOD_SUM, PERIOD_COUNT = range(-8, 0)  # last rows of `reals`
DEVS = slice(DEV_SEASON, DRIFT)

LIMIT = 2.0**15  # |x| kept below it, so that it fits float16
FAR = np.float32(64)  # widths of the range that a reading may lie outside of it
GROWTH = 8  # octaves one reading may raise a stream's unit: one broken reading must not blind it
MOVED = 64  # added to the phase of a stream that began anew because its first reading was misplaced
NO_SCALE = 2.0**1023  # the scale of a stream that never left its first value: any change outgrows it


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Which averages and channels a sentinel keeps. Channels that need the week table come last.

    ``short`` - ``long`` rows of the averages are the shifts; ``direct`` first residuals are channels as they are;
    the residuals ``averaged`` are channels as short means. ``positions``: of each channel in CHANNELS.
    """

    name: str
    bins: int
    spans: tuple[int, ...]
    direct: int
    short: slice
    long: slice
    averaged: slice
    signed_day: bool
    mean_week: bool
    positions: tuple[int, ...]

    @property
    def day(self) -> int:
        """Row of the channel `day`; that of `range` is the next, then come the short means."""
        return self.direct + int(self.short.stop - self.short.start)

    @property
    def means(self) -> int:
        """How many short means there are without the week's."""
        return int(self.averaged.stop - self.averaged.start) + 2 + self.signed_day

    def channels(self, week: bool) -> int:
        """How many channels there are, with the week table or without."""
        return len(self.positions) - (0 if week else 1 + self.mean_week)

    @property
    def reals(self) -> int:
        """Rows of `reals`: averages, short means, and the named rows."""
        return len(self.spans) + self.means + self.mean_week - LOW


FULL = Profile(
    "full",
    15,
    (3, 100, 300, 750, 30, 10, 15, 50, 150, 5),
    direct=3,
    short=slice(6, 10),
    long=slice(1, 5),
    averaged=slice(4, 6),
    signed_day=True,
    mean_week=True,
    positions=tuple(range(16)),
)
LEAN = Profile(
    "lean",
    11,
    (3, 100, 750, 15, 150),
    direct=1,
    short=slice(3, 5),
    long=slice(1, 3),
    averaged=slice(0, 0),
    signed_day=False,
    mean_week=False,
    positions=(0, 3, 5, 7, 8, 11, 13, 15),
)


@functools.cache
def span_rates(profile: Profile) -> F32:
    """2 / (w + 1) of each average, [span, 1]."""
    return np.array([[2 / (w + 1)] for w in profile.spans], np.float32)


@functools.cache
def mean_rates(profile: Profile, week: bool) -> F32:
    """Rates of the short means, [mean, 1]: 1/8, of |dx| 1/16."""
    rates = np.full((profile.means + (week and profile.mean_week), 1), 1 / 8, np.float32)
    rates[profile.means - 1] = 1 / 16
    return rates


def rate(rates: F32, young: F32 | None) -> F32:
    """``rates``, or 1 / (n + 1) where that is more; ``young`` is None where no stream is that young."""
    return rates if young is None else np.maximum(rates, young)


# --- the stream's own unit


def enter(exact: F64, counts: I32, half: F64) -> None:
    """Take the first reading of new streams as their origin."""
    new = counts[READINGS] == 0
    exact[FIRST, new] = exact[LAST, new] = half[new]


def outgrown(exact: F64, half: F64) -> tuple[F32, tuple[Ix, I32] | None]:
    """x = (value - first) / unit, float32 [m], and whose unit grew, by how many octaves.

    ``half`` is value / 2; where a reading is still too large after the unit grew, it is cut there.
    """
    away = half - exact[FIRST]
    x = away * exact[SCALE]
    if np.abs(x).max() <= LIMIT:
        return x.astype(np.float32), None
    which = np.flatnonzero(np.abs(x) > LIMIT)
    octaves = _grow(exact, which, away[which])
    x[which] = np.clip(away[which] * exact[SCALE, which], -LIMIT, LIMIT)
    half[which] = exact[FIRST, which] + x[which] / exact[SCALE, which]
    return x.astype(np.float32), (which, octaves)


def _grow(exact: F64, which: Ix, away: F64) -> I32:
    old = exact[SCALE, which]
    size = np.frexp(away)[1] + np.frexp(old)[1] - 1  # |x| < 2^size
    octaves = np.where(old == NO_SCALE, size, np.clip(size - 15, 1, GROWTH))
    new = np.maximum(np.ldexp(old, -octaves), 2.0**-1022)
    exact[SCALE, which] = new
    lost: I32 = (np.frexp(old)[1] - np.frexp(new)[1]).astype(np.int32)
    return lost


def rescale(reals: F32, which: Ix, octaves: I32) -> None:
    """Tell everything measured in a stream's unit that the unit grew."""
    by = np.ldexp(np.float32(1), -octaves)
    reals[:PERIOD_COUNT, which] *= by


def replaceable(counts: I32) -> npt.NDArray[np.bool_]:
    """Young streams, which may still take another first reading."""
    young: npt.NDArray[np.bool_] = (counts[READINGS] >= 100) & (counts[READINGS] <= 400) & (counts[PHASE] < MOVED)
    return young


def misplaced(profile: Profile, reals: F32) -> npt.NDArray[np.bool_]:
    """Streams whose first reading lies so far off that float16 can't tell their readings apart from there."""
    level = np.abs(reals[profile.spans.index(15)])
    change = reals[len(profile.spans) + profile.means - 1]
    found: npt.NDArray[np.bool_] = level > np.float32(2048) * change
    return found


# --- evidence


def advance(means: F32, x: F32, rates: F32, out: F32) -> None:
    """Residuals x - average into ``out`` [span, m], then move the averages."""
    np.subtract(x, means, out=out)
    means += out * rates


def excess(reals: F32, x: F32) -> F32:
    """How far x lies outside the range so far, in units of its width."""
    low, high = reals[LOW], reals[HIGH]
    outside: F32 = x - high
    np.maximum(outside, low - x, out=outside)
    np.maximum(outside, 0, out=outside)
    width = high - low
    np.maximum(width, np.float32(1e-9), out=width)
    outside /= width
    return outside


def cut(exact: F64, reals: F32, outside: F32, x: F32, half: F64, warm: npt.NDArray[np.bool_]) -> None:
    """Readings that lie further than FAR widths outside all seen before are taken for FAR widths outside.

    That is unusual enough; more of it would only blind the averages, and so the stream, for thousands of steps.
    """
    which = np.flatnonzero((outside > FAR) & warm & (reals[HIGH] > reals[LOW]))
    low, high = reals[LOW, which], reals[HIGH, which]
    far = FAR * (high - low)
    x[which] = np.where(x[which] > high, high + far, low - far)
    outside[which] = FAR
    half[which] = exact[FIRST, which] + x[which] / exact[SCALE, which]


def widen(reals: F32, x: F32) -> None:
    """Take x into the range."""
    np.minimum(reals[LOW], x, out=reals[LOW])
    np.maximum(reals[HIGH], x, out=reals[HIGH])


def short_means(
    profile: Profile, means: F32, residuals: F32, day: F32, week: F32 | None, change: F32, rates: F32
) -> None:
    """Move the short means [mean, m] of absolute residuals, of the signed one of the day, and of |dx|."""
    fresh = np.empty_like(means)
    k = profile.averaged.stop - profile.averaged.start
    if k:
        np.abs(residuals[profile.averaged], out=fresh[:k])
    np.abs(day, out=fresh[k])
    if profile.signed_day:
        fresh[k + 1] = day
    np.abs(change, out=fresh[profile.means - 1])
    if week is not None and profile.mean_week:
        np.abs(week, out=fresh[profile.means])
    fresh -= means
    fresh *= rates
    means += fresh


def gather_evidence(
    profile: Profile, reals: F32, x: F32, outside: F32, day: F32, week: F32 | None, change: F32, least: int, young: F32
) -> tuple[F32, F32]:
    """Evidence [channel, m] (signs not yet removed) and the signed residual from the average of span 15 [m].

    ``outside``: of the range; ``day``, ``week``, ``change``: signed residuals and step [m]. ``least``: readings of the
    youngest stream; ``young``: 1 / (n + 1) [m].
    """
    spans, here = len(profile.spans), profile.means + (week is not None and profile.mean_week)
    channels = profile.channels(week is not None)
    work = np.empty((max(channels, spans), len(x)), np.float32)
    means = reals[:spans]
    advance(means, x, rate(span_rates(profile), young if least < 375 else None), work[:spans])
    level = work[profile.spans.index(15)].copy()
    shorts = reals[spans : spans + here]
    rates = rate(mean_rates(profile, week is not None), young if least < 16 else None)
    short_means(profile, shorts, work, day, week, change, rates)
    np.subtract(means[profile.short], means[profile.long], out=work[profile.direct : profile.day])
    work[profile.day] = day
    work[profile.day + 1] = outside
    work[profile.day + 2 : profile.day + 2 + here] = shorts
    if week is not None:
        work[channels - 1] = week
    return work[:channels], level


def changed(exact: F64, half: F64) -> tuple[F32, npt.NDArray[np.bool_]]:
    """The step from the last reading in units of the stream, and whether it is none at all; remembers the reading."""
    step = half - exact[LAST]
    same = step == 0
    step *= exact[SCALE]
    exact[LAST] = half
    return step.astype(np.float32), same


# --- runs


def run_lengths(counts: I32, same: npt.NDArray[np.bool_]) -> None:
    """Move the runs of equal values on; ``same``: the reading equals the last one."""
    flat, longest = counts[FLAT], counts[FLAT_LONGEST]
    np.maximum(longest, np.where(same, 0, flat), out=longest)
    flat *= same
    flat += 1


def flatness(counts: I32, warm: npt.NDArray[np.bool_]) -> F32:
    """Length of the current run of equal values over max(4, longest one that ended); 0 where none ever ended."""
    longest = counts[FLAT_LONGEST]
    ratio: F32 = counts[FLAT].astype(np.float32) / np.maximum(longest, 4).astype(np.float32)
    ratio *= warm & (longest > 0)
    return ratio


def silence(counts: I32) -> F32:
    """Steps without a reading so far over max(4, longest such run that ended)."""
    ratio: F32 = counts[GAP].astype(np.float32) / np.maximum(counts[GAP_LONGEST], 4).astype(np.float32)
    return ratio
