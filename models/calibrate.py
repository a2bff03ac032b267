"""Calibration: from evidence to surprise s = -log10 P(evidence this large), by a small histogram per channel.

The bits of a float32, shifted right by 22, count half octaves: a histogram's bin costs no logarithm. Surprise is
read from a u8 table at the bins' edges, which models/histogram.py refreshes now and then. Histograms and tables are
[channel, stream, bins + 1]: one padding column, so that both share a flat index.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from models.evidence import CHANNELS, Profile

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp] | I32
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]

WARM = 100  # readings before a surprise is more than 0
MOST = 8.0  # the largest surprise
LEVELS = np.float32(MOST / 255)  # surprise a level of the u8 tables
SHIFT = 22
NO_BASE = np.int32(2**31 - 1)  # the base of a channel that never moved: everything lies below it, in bin 0
FLOOR = np.float32(1e-9).view(np.int32)
NOUGHT, LARGEST = np.int32(0), np.int32(2**31 - 1)  # NumPy takes its own numbers quicker than Python's
MOVED = np.float32(1.5e-9).view(np.int32)


def bar(step_ns: int, false_alarms: float) -> float:
    """The surprise that scores 1: at least 3.1, or what is nominally exceeded so many times a stream and day."""
    return max(3.1, math.log10(86_400e9 / step_ns / false_alarms))


def cap(profile: Profile, levels: F32) -> None:
    """Keep levels [channel, m] below the largest of their channel: 8, of the range 7."""
    np.clip(levels, np.float32(0), np.float32(255), out=levels)
    outside = levels[profile.day + 1]
    np.minimum(outside, np.float32(255 * 7 / MOST), out=outside)


@functools.cache
def speaks_from(profile: Profile, channels: int) -> I32:
    """Readings before a channel's surprise is more than 0, [channel, 1].

    100; more for shifts between averages so slow that they were the same until then: all they saw was nothing.
    """
    names = [CHANNELS[i] for i in profile.positions[:channels]]
    return np.array([[{"shift_50": 150, "shift_150": 400}.get(name, WARM)] for name in names], np.int32)


def bits_of(evidence: F32) -> I32:
    """max(|evidence|, 1e-9) as the integer that its bits spell: its order, and half octaves in the upper bits."""
    bits = evidence.view(np.int32)
    np.bitwise_and(bits, np.int32(0x7FFFFFFF), out=bits)
    return np.clip(bits, FLOOR, LARGEST, out=bits)  # NumPy clips twice as fast as it takes a maximum


def set_bases(bits: I32, base: I32, unset: I32, bins: int) -> None:
    """Centre the range of each channel that moves for the first time; ``unset`` [m] counts those that did not."""
    which = np.flatnonzero(unset)
    first, old = bits[:, which], base[:, which]
    moved = (old == NO_BASE) & (first > MOVED)
    base[:, which] = np.where(moved, first - ((bins // 2) << SHIFT), old)
    unset[which] -= moved.sum(axis=0, dtype=np.int32)


def lower_bases(base: I32, which: Ix, octaves: I32) -> None:
    """The unit of some streams grew: their evidence [channel, m] is that much smaller from now on."""
    old = base[:, which].astype(np.int64)
    base[:, which] = np.where(old == NO_BASE, old, np.maximum(old - (octaves.astype(np.int64) << 23), 0))


def locate(bits: I32, base: I32, bins: int) -> tuple[I32, F32]:
    """The bin, and how far into it (more than 1 beyond the last)."""
    beyond = bits - base
    np.clip(beyond, NOUGHT, LARGEST, out=beyond)
    bin = beyond >> SHIFT
    np.clip(bin, NOUGHT, np.int32(bins - 1), out=bin)
    beyond -= bin << SHIFT
    into = beyond.astype(np.float32)
    into *= np.float32(2.0**-SHIFT)
    return bin, into


def look_up(edges: U8, index: Ix, into: F32) -> F32:
    """Surprise in levels, interpolated between a bin's edges; overwrites ``into``."""
    low = edges.take(index)
    slope = edges[1:].take(index)
    slope -= low
    into *= slope
    into += low
    return into


def count(hist: U16, index: Ix) -> None:
    """Add one to each of these (all different) bins."""
    counts = hist.take(index)
    counts += 1
    hist[index] = counts


def strongest(surprise: F32) -> tuple[F32, npt.NDArray[np.int8]]:
    """The largest surprise of each stream and its row, the first of equals.

    The row rides in the four lowest bits, which saves an argmax of twenty times the cost.
    """
    rows = np.arange(15, 15 - len(surprise), -1, dtype=np.int32)[:, None]
    keys = surprise.view(np.int32) & np.int32(~15)
    keys |= rows
    best = np.maximum.reduce(keys, axis=0)
    row = (15 - (best & 15)).astype(np.int8)
    best &= np.int32(~15)
    return best.view(np.float32), row


def tail_width(bins: int) -> float:
    """Width of a bin of the histogram of the largest surprise itself, which `p` is read from."""
    return 4.5 / bins


def locate_surprise(surprise: F32, bins: int) -> tuple[I32, F32]:
    """The same as ``locate`` for a surprise: bins of equal width from 0."""
    into = surprise * np.float32(1 / tail_width(bins))
    bin = into.astype(np.int32)
    np.minimum(bin, bins - 1, out=bin)
    into -= bin
    return bin, into


def tail_probability(levels: F32) -> F32:
    """p = 10^-s of a surprise in levels, at least 1e-8."""
    np.minimum(levels, 255, out=levels)
    levels *= np.float32(-MOST / 255 * math.log2(10))
    return np.exp2(levels, out=levels)
