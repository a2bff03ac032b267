"""What value was expected, how far readings usually stray from it, and when a new level has to be accepted.

A baseline is accepted anew when the residual from the seasonal tables, averaged over about 30 steps, has stayed
several times its usual size on one side for `hold` steps. It depends on a stream's own readings alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.evidence import (
    DEV_LEVEL,
    DEV_SEASON,
    DEVS,
    DRIFT,
    FIRST,
    HITS,
    READINGS,
    SCALE,
    Profile,
    span_rates,
)

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp]

HOLD_STEPS = 300
HOLD_NS = 7_200_000_000_000  # two hours: at short steps, 300 of them fit into any rush hour
BAND = np.float32(2.1)  # mean absolute deviations that hold about 90 % of normal readings
STRONG = np.float32(3)  # times the usual deviation
LEAK = 4  # steps of disagreement that one step of agreement takes back
CLIP = np.float32(8)  # the largest signed token, in units of the usual; tokens hold a quarter of it
_DRIFT_RATE = np.float32(1 / 32)
_TINY = np.float32(1e-9)


def hold(step_ns: int) -> int:
    """Steps that a disagreement must last."""
    return max(HOLD_STEPS, HOLD_NS // step_ns)


def expected(exact: F64, reals: F32, x: F32, season: F32, level: F32) -> tuple[F64, F32]:
    """Expected value, low and high (5 to 95 %) in the stream's own units [3, m], and the residual from it in x.

    ``season``, ``level``: residuals of x from the seasonal prediction and from the average of span 15; the one that
    has been the smaller counts.
    """
    seasonal = reals[DEV_SEASON] < reals[DEV_LEVEL]
    residual = np.where(seasonal, season, level)
    band = np.where(seasonal, reals[DEV_SEASON], reals[DEV_LEVEL])
    band *= BAND
    said = np.empty((3, len(x)))
    np.subtract(x, residual, out=said[0])
    np.subtract(said[0], band, out=said[1])
    np.add(said[0], band, out=said[2])
    said /= exact[SCALE]
    said += exact[FIRST]
    said *= 2
    return said, residual


def signed(reals: F32, deviation: F32, out: F32) -> None:
    """Residual and step in units of their usual size / 4, clipped at 8 / 4, into ``out`` [2, m].

    ``deviation`` [3, m]: signed, in the order of DEV_SEASON, DEV_LEVEL, DEV_CHANGE.
    """
    np.maximum(reals[DEV_LEVEL:DRIFT], _TINY, out=out)
    np.divide(deviation[1:], out, out=out)
    np.maximum(out, -CLIP, out=out)
    np.minimum(out, CLIP, out=out)
    out *= np.float32(0.25)


def learn_deviations(reals: F32, deviation: F32, change: F32, young: F32, steps: int) -> None:
    """Move the usual deviations, memory 4 x ``steps``; each takes in at most 2 times itself + ``change``.

    So a shift or a burst does not become usual before it is accepted. ``change`` is the short mean of |dx|.
    """
    usual = reals[DEVS]
    most = usual * np.float32(2)
    most += change
    size = np.abs(deviation)
    np.minimum(size, most, out=size)
    size -= usual
    size *= np.maximum(np.float32(1 / (4 * steps)), young)
    usual += size
    drift = reals[DRIFT]
    drift += (deviation[0] - drift) * _DRIFT_RATE


def disagreement(reals: F32, counts: I32, change: F32, steps: int) -> Ix | None:
    """Which streams have disagreed with their tables for ``steps`` steps; None where there is none."""
    usual = reals[DEV_SEASON] * STRONG
    usual += change
    strong = np.abs(reals[DRIFT]) > usual
    strong |= counts[HITS] != 0
    if not strong.any():
        return None
    which = np.flatnonzero(strong)
    drift, hits = reals[DRIFT, which], counts[HITS, which]
    side = np.where(np.abs(drift) > usual[which], np.sign(drift), 0).astype(np.int32)
    side[counts[READINGS, which] < HOLD_STEPS] = 0
    calmer = np.sign(hits) * np.maximum(np.abs(hits) - LEAK, 0)
    hits = np.where(side == 0, calmer, np.where(side * hits < 0, side, hits + side))
    over = np.abs(hits) >= steps
    counts[HITS, which] = np.where(over, 0, hits)
    return which[over] if over.any() else None


def accept(profile: Profile, reals: F32, which: Ix, steps: int) -> F32:
    """Move the slow averages by what they have not followed yet of the shift; returns the shift [k] of the tables."""
    shift: F32 = reals[DRIFT, which].copy()
    left = (1 - span_rates(profile)) ** steps
    reals[: len(profile.spans), which] += shift * left
    reals[DRIFT, which] = 0
    return shift
