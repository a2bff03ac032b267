"""Made-up looks, the same on every machine: for self-tests, parity proofs and measuring what a model costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models.contract import F32, TOKEN_CHANNELS, TOKEN_STEPS, Look, Scorer

SELF_TEST = (2, 3, 5)  # groups, admitted, members of the look that a model is tried with
COST_ROWS = (32, 128, 512, 2048)  # admitted streams a call, over which the cost is fitted
COST_RUNS = 7


def wave(shape: tuple[int, ...], seed: int) -> F32:
    """Numbers of about unit size that look random; from a formula, since generators may change."""
    n = int(np.prod(shape))
    x = np.sin((np.arange(n, dtype=np.float64) + 1.0) * 12.9898 + seed * 78.233) * 43758.5453
    return ((x - np.floor(x)) * 4.0 - 2.0).astype(np.float32).reshape(shape)


def probe_look(groups: int, admitted: int, members: int, window: int = 128, seed: int = 0) -> Look:
    """A look with masked steps, an empty window, padding in the last group's members and in its admitted."""
    mask = wave((groups, admitted, window), seed + 1) > -1.6
    mask[0, 0] = False
    values = np.where(mask, wave((groups, admitted, window), seed), np.float32(0))
    present = np.ones((groups, members), np.bool_)
    present[-1, max(1, members - members // 3) :] = False
    order = np.argsort(np.where(present, wave((groups, members), seed + 2), 9.0), axis=1)  # present ones first
    member = np.full((groups, admitted), -1, np.int64)
    n = min(admitted, members)
    member[:, :n] = np.where(np.take_along_axis(present, order, 1), order, -1)[:, :n]
    evidence = np.abs(wave((groups, members, TOKEN_STEPS, TOKEN_CHANNELS), seed + 3))
    return Look(values, mask, member, evidence, present)


def full_look(groups: int, members: int, window: int = 128) -> Look:
    """A look at every member of every group."""
    shape = (groups, members)
    values = wave((*shape, window), 0)
    member = np.broadcast_to(np.arange(members, dtype=np.int64), shape).copy()
    evidence = np.abs(wave((*shape, TOKEN_STEPS, TOKEN_CHANNELS), 1))
    return Look(values, np.ones(values.shape, np.bool_), member, evidence, np.ones(shape, np.bool_))


def measure_cost(
    scorer: Scorer, timer: Callable[[], float], rows: Sequence[int] = COST_ROWS, members: int = 32
) -> tuple[float, float]:
    """Seconds a call costs, and seconds each admitted stream adds.

    ``timer`` gives seconds that pass. The line is fitted to the median of some runs at each number of rows, with
    weights that count relative errors, so that small calls are priced as well as large ones.
    """
    looks = [full_look(-(-n // members), min(n, members), scorer.window) for n in rows]
    n = np.array([look.member.size for look in looks], np.float64)
    seconds = np.array([_median_seconds(scorer, look, timer) for look in looks])
    line = np.stack([np.ones_like(n), n], 1) / seconds[:, None]
    fixed, each = np.linalg.lstsq(line, np.ones_like(n), rcond=None)[0]
    return max(float(fixed), 0.0), max(float(each), 0.0)


def _median_seconds(scorer: Scorer, look: Look, timer: Callable[[], float]) -> float:
    scorer.score(look)  # the first run pays for memory
    times: list[float] = []
    for _ in range(COST_RUNS):
        start = timer()
        scorer.score(look)
        times.append(timer() - start)
    return max(float(np.median(times)), 1e-9)


def worst(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """The largest absolute difference; infinite where shapes differ or a number isn't finite."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("inf")
    return float(np.abs(x - y).max(initial=0.0))
