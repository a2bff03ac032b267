"""Lag in fine log-spaced bins: percentiles over a run, and over the last minute."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_EDGES = np.concatenate(([0.0], np.geomspace(1e-5, 1e5, 2400)))  # seconds; neighbours differ by 1 %
_BOUNDS: list[float] = _EDGES.tolist()
MINUTE = 60_000_000_000


class Lags:
    """A histogram of lag in seconds, weighted by windows; ``recent`` is kept for the last minute in slices of 5 s."""

    def __init__(self) -> None:
        self._bins = np.zeros(_EDGES.size + 1, np.int64)
        self._slices: deque[tuple[int, npt.NDArray[np.int64], float]] = deque()
        self._max = 0.0
        self.sum = 0.0  # seconds, all windows together

    def add(self, now: int, seconds: float, windows: int) -> None:
        """``windows`` verdicts had this lag at ``now`` (ns)."""
        if windows <= 0:
            return
        at = bisect_left(_BOUNDS, seconds)
        self._bins[at] += windows
        self.sum += seconds * windows
        self._max = max(self._max, seconds)
        part = now // (MINUTE // 12)
        if not self._slices or self._slices[-1][0] != part:
            self._slices.append((part, np.zeros_like(self._bins), 0.0))
            while self._slices[0][0] < part - 12:
                self._slices.popleft()
        number, bins, worst = self._slices[-1]
        bins[at] += windows
        self._slices[-1] = (number, bins, max(worst, seconds))

    @property
    def windows(self) -> int:
        """How many verdicts there were."""
        return int(self._bins.sum())

    def summary(self) -> dict[str, float]:
        """p50, p99 and max over all, seconds; a percentile is the upper edge of its bin (within 1 %)."""
        return _summary(self._bins, self._max)

    def cumulative(self, edges: Sequence[float]) -> tuple[int, ...]:
        """How many had at most each of ``edges`` seconds (within 1 %), and how many there were in all."""
        below = np.cumsum(self._bins)
        at = np.searchsorted(_EDGES, edges, side="right") - 1
        return (*below[at].tolist(), int(below[-1]))

    def recent(self) -> dict[str, float]:
        """The same over the last minute."""
        if not self._slices:
            return _summary(self._bins[:0], 0.0)
        return _summary(np.sum([s[1] for s in self._slices], axis=0), max(s[2] for s in self._slices))


def _summary(bins: npt.NDArray[np.int64], worst: float) -> dict[str, float]:
    return {"p50": _percentile(bins, 0.5, worst), "p99": _percentile(bins, 0.99, worst), "max": round(worst, 6)}


def _percentile(bins: npt.NDArray[np.int64], share: float, worst: float) -> float:
    if bins.sum() == 0:
        return 0.0
    at = int(np.searchsorted(np.cumsum(bins), share * bins.sum()))
    return round(min(float(_EDGES[min(at, _EDGES.size - 1)]), worst), 6)
