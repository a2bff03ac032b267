"""Refreshing the tables of surprise from the histograms: tail share, a range that follows the stream, halving.

Works on [bin, K] with one column per channel and stream. Counts are integers far below 2^24, so sums in float32
are exact in any order and a matrix product takes all suffix sums at once.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from models.calibrate import MOST, NO_BASE, SHIFT, tail_width

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]

TAIL = np.float32(0.02)  # share of the largest evidence that is taken for an exponential tail
FULL = 60_000  # counts at which they are halved
LEAST = 64  # the surprise's own counts are not halved below
HALF_OCTAVE = math.log10(2) / 2  # width of a bin of evidence, in log10
PRIOR = 20.0  # readings that the prior of the tail's index weighs
_LOG10 = np.float32(math.log10(math.e))


@functools.cache
def _sums(edges: int) -> F32:
    """[2 x edges, edges]: counts from an edge up, then the sum of those of all later edges."""
    above = np.arange(edges)[None] - np.arange(edges)[:, None]
    return np.concatenate([above >= 0, np.maximum(above, 0)]).astype(np.float32)


@functools.cache
def _tail(bins: int, rows: int) -> tuple[F32, F32]:
    """Bin width and prior sum of log10 excess of each row: the first is that of the surprise itself."""
    width = np.full((rows, 1), HALF_OCTAVE, np.float32)
    prior = np.full((rows, 1), PRIOR * 0.08, np.float32)
    width[0], prior[0] = tail_width(bins), PRIOR * math.log10(math.e)
    return width, prior


def refresh(hist: U16, base: I32, readings: I32) -> tuple[U8, Ix]:
    """Surprise at the edges, u8 [row, k, bins + 1], from hist [row, k, bins + 1]; row 0 is the surprise itself.

    ``readings`` [k] of each stream: the surprise's own counts are halved when they are half of them, since a young
    stream surprises more often than it will later. Changes ``hist`` and ``base`` [row, k], both in C order, in place
    where a range follows or counts are halved; the second result are those columns, as flat indices into [row, k].
    """
    rows, k, edges = hist.shape
    columns = hist.reshape(rows * k, edges)
    h = columns.astype(np.float32).T  # [edge, K]
    sums = np.matmul(_sums(edges), h)
    knee = _knee(sums[:edges])
    moves = _moves(h, sums[0], knee, base)
    halve = sums[0] >= FULL
    halve[:k] = sums[0, :k] >= np.clip(readings // 2, LEAST, FULL)
    changed = np.flatnonzero((moves != 0) | halve)
    if len(changed):
        new = columns[changed] = _changed(columns.take(changed, axis=0), moves[changed], halve[changed])
        base.reshape(-1)[changed] += moves[changed] << SHIFT
        sums[:, changed] = own = np.matmul(_sums(edges), new.astype(np.float32).T)
        knee[changed] = _knee(own[:edges])
    return _surprise(sums[:edges], sums[edges:], knee, *_tail(edges - 1, rows)).reshape(rows, k, edges), changed


def _knee(share: F32) -> Ix:
    """The lowest edge >= 1 with at most 2 % of the counts above it."""
    limit = TAIL * np.maximum(share[0], 1)
    above = share[1:-1] > limit
    knee: Ix = np.add.reduce(above.view(np.uint8), axis=0, dtype=np.uint8).astype(np.intp)
    knee += 1
    return knee


def _moves(h: F32, total: F32, knee: Ix, base: I32) -> I32:
    """By how many bins each range should go up (or, negative, down)."""
    bins = len(h) - 1
    total = np.maximum(total, 1)
    top = h[bins - 1]
    up = ((top >= 2) & (top > np.float32(0.005) * total)) | (knee > math.floor(0.8 * bins))
    down = (knee < math.ceil(0.3 * bins)) & (h[0] < np.float32(0.3) * total) & ~up
    free = base != NO_BASE
    free[0] = False
    moves = np.zeros(len(knee), np.int32)
    which = np.flatnonzero((up | down) & free.reshape(-1))
    far = knee[which] - bins // 2
    moves[which] = np.where(up[which], np.minimum(np.maximum(bins // 4, far), bins // 2), far)
    return moves


def _changed(counts: U16, moves: I32, halve: Bools) -> U16:
    """Counts [K, edge] moved by so many bins, the ends merged, then halved where asked."""
    result = counts.copy()
    for move in np.unique(moves).tolist():
        if move:
            here = np.flatnonzero(moves == move)
            result[here] = _moved(counts.take(here, axis=0), move)
    result[halve] >>= 1
    return result


def _moved(counts: U16, move: int) -> U16:
    """All of them down by ``move`` bins (up where it is negative); what leaves at an end is counted there."""
    bins = counts.shape[1] - 1
    stay = bins - abs(move)  # bins that do not end up merged, and the one that they are merged with
    moved = np.zeros_like(counts)
    if move > 0:
        moved[:, 0] = np.add.reduce(counts[:, : move + 1], axis=1, dtype=np.uint16)
        moved[:, 1:stay] = counts[:, move + 1 : bins]
    else:
        moved[:, bins - 1] = np.add.reduce(counts[:, stay - 1 : bins], axis=1, dtype=np.uint16)
        moved[:, -move : bins - 1] = counts[:, : stay - 1]
    return moved


def _surprise(share: F32, above: F32, knee: Ix, width: F32, prior: F32) -> U8:
    """The tables, [K, edge]: minus the log10 of the share below the knee, an exponential tail from there on."""
    edges, columns = share.shape
    total = np.maximum(share[0], 1)
    place = knee * columns + np.arange(columns)
    at, before = share.take(place), share.take(place - columns)
    earlier = (knee > 1) & (knee < edges - 1) & (at * before < (TAIL * total) ** 2)
    at = np.where(earlier, before, at)
    place -= earlier * columns
    widths, priors = np.repeat(width, columns // len(width)), np.repeat(prior, columns // len(prior))
    index = (widths * (above.take(place) + np.float32(0.5) * at) + priors) / (at + np.float32(PRIOR))
    slope = _LOG10 * widths / np.maximum(index, np.float32(1e-3))
    s = np.maximum(share, np.float32(0.5))
    np.log(s, out=s)
    np.subtract(np.log(total), s, out=s)
    s *= _LOG10
    beyond = np.arange(edges, dtype=np.float32)[:, None] - (knee - earlier).astype(np.float32)
    below = beyond.view(np.int32) >> 31  # all bits set below the knee, none from there on
    beyond *= slope
    beyond += s.take(place)
    _choose(below, s, beyond)
    np.clip(s, np.float32(0), np.float32(MOST), out=s)
    s *= np.float32(255 / MOST)
    s[:, share[0] <= 0] = 0
    s += np.float32(0.5)
    return np.ascontiguousarray(s.astype(np.uint8).T)


def _choose(mask: I32, found: F32, other: F32) -> None:
    """``other`` into ``found`` where no bit of the mask is set: a third of the time of a copy under a condition."""
    bits, others = found.view(np.int32), other.view(np.int32)
    bits &= mask
    others &= ~mask
    bits |= others
