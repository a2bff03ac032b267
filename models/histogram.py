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
    full = np.full((rows, k), FULL)
    full[0] = np.clip(readings // 2, LEAST, FULL)
    halve = sums[0] >= full.reshape(-1)
    changed = np.flatnonzero((moves != 0) | halve)
    if len(changed):
        columns[changed] = _changed(columns[changed], moves[changed], halve[changed])
        base.reshape(-1)[changed] += moves[changed] << SHIFT
        sums[:, changed] = np.matmul(_sums(edges), columns[changed].astype(np.float32).T)
        knee[changed] = _knee(sums[:edges, changed])
    return _surprise(sums[:edges], sums[edges:], knee, *_tail(edges - 1, rows)).reshape(rows, k, edges), changed


def _knee(share: F32) -> I32:
    """The lowest edge >= 1 with at most 2 % of the counts above it."""
    limit = TAIL * np.maximum(share[0], 1)
    knee: I32 = np.add.reduce(share[1:-1] > limit, axis=0, dtype=np.int32) + np.int32(1)
    return knee


def _moves(h: F32, total: F32, knee: I32, base: I32) -> I32:
    """By how many bins each range should go up (or, negative, down)."""
    bins = len(h) - 1
    total = np.maximum(total, 1)
    top = h[bins - 1]
    up = ((top >= 2) & (top > np.float32(0.005) * total)) | (knee > 0.8 * bins)
    down = (knee < 0.3 * bins) & (h[0] < np.float32(0.3) * total) & ~up
    moves = np.where(up, np.minimum(np.maximum(bins // 4, knee - bins // 2), bins // 2), 0)
    moves = np.where(down, knee - bins // 2, moves)
    fixed = base == NO_BASE
    fixed[0] = True
    moves[fixed.reshape(-1)] = 0
    result: I32 = moves.astype(np.int32)
    return result


def _changed(counts: U16, moves: I32, halve: Bools) -> U16:
    """Counts [K, edge] moved by so many bins, the ends merged, then halved where asked."""
    bins = counts.shape[1] - 1
    result = np.zeros_like(counts)
    for move in np.unique(moves):
        here = moves == move
        moved = np.zeros((int(here.sum()), bins + 1), np.uint16)
        for i in range(bins):
            moved[:, min(max(i - move, 0), bins - 1)] += counts[here, i]
        result[here] = moved
    result[halve] >>= 1
    return result


def _surprise(share: F32, above: F32, knee: I32, width: F32, prior: F32) -> U8:
    """The tables, [K, edge]: minus the log10 of the share below the knee, an exponential tail from there on."""
    edges, columns = share.shape
    total = np.maximum(share[0], 1)
    each = np.arange(columns)
    at, before = share[knee, each], share[knee - 1, each]
    earlier = (knee > 1) & (knee < edges - 1) & (at * before < (TAIL * total) ** 2)
    knee = knee - earlier
    at = share[knee, each]
    widths, priors = np.repeat(width, columns // len(width)), np.repeat(prior, columns // len(prior))
    index = (widths * (above[knee, each] + np.float32(0.5) * at) + priors) / (at + np.float32(PRIOR))
    slope = _LOG10 * widths / np.maximum(index, np.float32(1e-3))
    s = np.log(np.maximum(share, np.float32(0.5)))
    np.subtract(np.log(total), s, out=s)
    s *= _LOG10
    beyond = np.arange(edges, dtype=np.float32)[:, None] - knee.astype(np.float32)
    tail = beyond * slope
    tail += s[knee, each]
    np.copyto(s, tail, where=beyond >= 0)
    np.minimum(s, np.float32(MOST), out=s)
    s *= np.float32(255 / MOST)
    s *= share[0] > 0
    s += np.float32(0.5)
    return np.ascontiguousarray(s.astype(np.uint8).T)
