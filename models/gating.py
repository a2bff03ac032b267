"""The gate's cheap look at every reading: each stream against its own past, and against its group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

OWN = ("z32", "z200", "move", "spread", "drift")  # what each stream says of itself; then "stuck"
FEATURES = len(OWN)
GATE = 2 * FEATURES  # the same again, less the mean of the group's others
INPUTS = GATE + 6  # and latch, last, age, echo, the greatest and the mean echo of the group's others
_JUDGED = GATE + 1  # and stuck: all that is measured against its own running mean and deviation

# Rows of the state, one column per stream.
N, MEAN32, MEAN200, PREVIOUS, DEV32, DEV200, DEV8, MOVE32, MOVE6, RISE, FALL = range(11)
_MEAN = slice(11, 11 + _JUDGED)
_DEV = slice(11 + _JUDGED, 11 + 2 * _JUDGED)
COLUMNS = _DEV.stop

WARM = 16  # readings before a stream's features mean anything
SETTLED = 32  # readings before they are compared with their own past
_FAR = 1e30  # readings further than this from the first one are taken to be this far
_TINY = np.float32(1e-30)
_GRAIN = 1e-9  # changes smaller than this share of the reading are rounding
_MOST = np.float32(50.0)  # of a feature
_OLDEST = np.float32(4096)  # steps: a stream never looked at may have any age
_HALF_NORMAL = np.float32(1.2533)  # standard deviation of normal noise / its mean absolute deviation


def begin(n: int) -> tuple[F32, F64]:
    """State ``[COLUMNS, n]`` and first readings ``[n]`` of streams that have said nothing yet."""
    return np.zeros((COLUMNS, n), np.float32), np.zeros(n, np.float64)


def look(state: F32, first: F64, value: F64, group: I32, groups: int) -> tuple[F32, F32]:
    """Take one finite reading of each of m streams into ``state`` ``[COLUMNS, m]`` and ``first`` ``[m]``, in place.

    ``group`` ``[m]`` numbers the groups 0..groups-1. Returns the gate features ``[GATE, m]``, in deviations from the
    stream's own usual, 0 until it has settled; and the surprise ``[m]``: the greatest of those relative to the group
    and of being stuck.
    """
    np.copyto(first, value, where=state[N] == 0)
    far = np.clip(value, -_FAR, _FAR)
    x = np.clip(far - np.clip(first, -_FAR, _FAR), -_FAR, _FAR).astype(np.float32)
    grain = (np.abs(far) * _GRAIN).astype(np.float32) + _TINY
    own, stuck = _advance(state, x, grain)
    own *= state[N] > WARM
    relative = own - others_mean(own, group, groups, state[N] > WARM)
    judged = _judge(state, np.concatenate((own, relative, stuck[None])))
    surprise = np.maximum(judged[FEATURES:].max(axis=0), np.float32(0))
    return judged[:GATE], surprise


def _advance(state: F32, x: F32, grain: F32) -> tuple[F32, F32]:
    """Move the running averages by one reading; the features ``[FEATURES, m]`` and stuck ``[m]`` of it."""
    slow: F32 = x - state[MEAN200]
    fast: F32 = x - state[MEAN32]
    move: F32 = np.abs(x - state[PREVIOUS])
    move[state[N] == 0] = 0
    own = np.empty((FEATURES, len(x)), np.float32)
    own[0] = np.abs(_ratio(fast, state[DEV32], grain))
    z = _ratio(slow, state[DEV200], grain)
    own[1] = np.abs(z)
    own[2] = _ratio(move, state[MOVE32], grain)
    _cusum(state, z * (state[N] > WARM))
    _average(state, x, np.abs(slow), np.abs(fast), move)
    # Rising variance, and a drift that a single reading hardly shows.
    own[3] = 2 * np.log((state[DEV8] + grain) / (state[DEV200] + grain))
    own[4] = np.maximum(state[RISE], state[FALL])
    stuck = np.log((state[MOVE32] + grain) / (state[MOVE6] + grain))
    return np.clip(own, -_MOST, _MOST, out=own), np.minimum(stuck, _MOST) * (state[N] > WARM)


def _ratio(distance: F32, deviation: F32, grain: F32) -> F32:
    """A distance in deviations, at most 1e6: a stream that never moved has no deviation."""
    least = (grain + np.abs(distance) * 1e-6).astype(np.float32, copy=False)
    scaled: F32 = distance / (deviation * _HALF_NORMAL + least)
    return scaled


def _cusum(state: F32, z: F32) -> None:
    """How far the slow z has drifted up and down: sums beyond half a deviation a reading, at most 8."""
    for row, sign in ((RISE, np.float32(1)), (FALL, np.float32(-1))):
        np.clip(state[row] + np.clip(sign * z, -4, 4) - np.float32(0.5), 0, 8, out=state[row])


def _average(state: F32, x: F32, slow: F32, fast: F32, move: F32) -> None:
    """Exponentially weighted averages; plain averages while fewer readings than the horizon were seen."""
    share = 1 / (state[N] + np.float32(1))
    for row, horizon, new in (
        (MEAN32, 32, x),
        (MEAN200, 200, x),
        (DEV32, 32, fast),
        (DEV200, 200, slow),
        (DEV8, 8, fast),
        (MOVE32, 32, move),
        (MOVE6, 6, move),
    ):
        state[row] += np.maximum(share, np.float32(1 / horizon)) * (new - state[row])
    # A stream that stands still would take its deviations into numbers too small to calculate with quickly.
    np.maximum(state[DEV32 : MOVE6 + 1], _TINY, out=state[DEV32 : MOVE6 + 1])
    state[PREVIOUS] = x
    np.minimum(state[N] + np.float32(1), np.float32(1e6), out=state[N])


def _judge(state: F32, feature: F32) -> F32:
    """Features ``[_JUDGED, m]`` against their own running mean and absolute deviation (300 readings)."""
    mean, dev, seen = state[_MEAN], state[_DEV], state[N] - np.float32(WARM)
    unusual: F32 = feature - mean
    unit = dev + np.float32(0.1)
    rate = np.where(seen > 0, np.maximum(1 / np.maximum(seen, 1), np.float32(1 / 300)), np.float32(0))
    # What is far out is what we look for: it must not become the usual at once.
    unusual /= unit
    limit = np.where(seen > SETTLED, np.float32(8), np.float32(1e6))
    learnt = np.maximum(np.minimum(unusual, limit), -limit)
    learnt *= unit
    mean += rate * learnt
    np.abs(learnt, out=learnt)
    learnt -= dev
    learnt *= rate
    dev += learnt
    unusual *= state[N] > SETTLED
    return np.clip(unusual, -_MOST, _MOST, out=unusual)


def others_mean(feature: F32, group: I32, groups: int, counted: Bools) -> F32:
    """The mean of the group's other streams, of features ``[k, m]``; only ``counted`` ones; 0 where none is."""
    at = group.astype(np.intp)
    share = feature * counted
    others = np.bincount(at, counted, minlength=groups)[at] - counted
    total = np.stack([np.bincount(at, row, minlength=groups).take(at) for row in share])
    mean: F32 = ((total - share) / np.maximum(others, 1)).astype(np.float32)
    return mean


def others_max(feature: F32, group: I32, groups: int) -> F32:
    """The greatest of the group's other streams, of a feature ``[m]`` that is not negative; 0 for a lone one."""
    greatest, second = np.zeros(groups, np.float32), np.zeros(groups, np.float32)
    np.maximum.at(greatest, group, feature)
    best = feature == greatest[group]
    np.maximum.at(second, group, np.where(best, np.float32(0), feature))
    alone = best & (np.bincount(group, best, minlength=groups)[group] == 1)
    return np.where(alone, second[group], greatest[group])


def inputs(seen: F32, latch: F32, last: F32, age: F32, group: I32, groups: int) -> F32:
    """What the weight is computed from, ``[m, INPUTS]``.

    ``seen`` ``[GATE, m]`` the gate features, ``latch`` ``[m]`` the greatest surprise since the last full look,
    ``last`` ``[m]`` the score it gave (1 = alarm boundary, -1 = never looked at), ``age`` ``[m]`` steps since.
    """
    age = np.minimum(age, _OLDEST)
    echo = np.clip(last, 0, 2) * np.exp(-age / np.float32(12))
    rows = np.empty((INPUTS, len(last)), np.float32)
    rows[:GATE] = seen
    rows[GATE] = latch
    np.clip(last, -1, 2, out=rows[GATE + 1])
    rows[GATE + 2] = np.log1p(age) / 3
    rows[GATE + 3] = echo
    rows[GATE + 4] = others_max(echo, group, groups)
    rows[GATE + 5] = others_mean(echo[None], group, groups, np.ones(len(last), bool))[0]
    return np.ascontiguousarray(rows.T)
