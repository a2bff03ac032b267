"""The synthetic world as real streams are: noise that comes and goes, odd readings, and harmless habits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.synthetic import World

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

_PURPOSE = 97  # of the randomness, beside the world's own
_HABITUAL, _IDLE = 0.4, 0.25  # shares of the streams that have a habit, and that do nothing else


class Rough(World):
    """A world whose streams are harder to tell from faulty ones, for its first ``steps`` steps.

    ``usual`` [streams] is how far a stream's habits move it, in local standard deviations: a fault that moves it less
    can't be told from them.
    """

    def __init__(self, steps: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._calm = World(*args, **kwargs)
        rng = np.random.default_rng((self.seed, _PURPOSE))
        kind = rng.uniform(size=len(self))
        self._idle = np.flatnonzero(kind < _IDLE)
        self.usual = np.where(kind < _HABITUAL, rng.uniform(2, 6, len(self)), 0.0)
        habits = np.zeros((steps, len(self)))
        for column in np.flatnonzero(self.usual):
            habit = _bursts if kind[column] < _IDLE else (_switch, _saw)[rng.integers(2)]
            habits[:, column] = self.usual[column] * habit(rng, steps)
        self._rough = habits * self.sd
        busy = kind >= _IDLE
        self._rough[:, busy] += (_unrest(rng, steps, self.layout.group_of) * self.sd)[:, busy]

    def step(self, k0: int, n: int) -> Floats:
        """Values as of the tame world and what makes it rough; idle streams show habits and faults alone."""
        values = super().step(k0, n)
        level = self.layout.column("level")[self._idle]
        values[:, self._idle] += level - self._calm.step(k0, n)[:, self._idle]
        values += self._rough[k0 : k0 + n]
        values[:, self._idle] = np.rint(values[:, self._idle] / self.sd[self._idle]) * self.sd[self._idle]
        self._finish(values)
        return values


def _unrest(rng: Rng, steps: int, groups: npt.NDArray[np.intp]) -> Floats:
    """Noise with moods, odd readings, levels that move on, and moves of whole groups: [steps, streams]."""
    shape, shared = (steps, len(groups)), (steps, int(groups[-1]) + 1)
    mood = _lasting(0.98, 0.14 * (rng.standard_normal(shared)[:, groups] + rng.standard_normal(shape)))
    noise = rng.standard_t(4, shape) * np.exp(mood) * rng.uniform(0, 0.8, len(groups))
    odd = _lasting(0.5, _now_and_then(rng, shape) * rng.standard_t(2, shape) * 4)
    moves = _lasting(0.998, _now_and_then(rng, shape) * rng.standard_t(3, shape))
    together = _lasting(0.97, _now_and_then(rng, shared) * rng.standard_t(4, shared))[:, groups]
    unrest: Floats = noise + odd + moves + together * rng.standard_normal(len(groups))
    return unrest


def _lasting(share: float, moves: Floats) -> Floats:
    """Sums over the rows, of which each step keeps a share."""
    for before, row in pairwise(moves):
        row += share * before
    return moves


def _now_and_then(rng: Rng, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Seldom true, in some columns once in 2,000 rows, in some once in 60."""
    often: npt.NDArray[np.bool_] = rng.uniform(size=shape) < 1 / 2000 * (2000 / 60) ** rng.uniform(size=shape[1])
    return often


def _bursts(rng: Rng, steps: int) -> Floats:
    """Nothing, and now and then a short burst of work."""
    out = np.zeros(steps)
    pause, longest = np.exp(rng.uniform(3.5, 7.5)), int(rng.integers(1, 9))
    for start in np.cumsum(rng.exponential(pause, int(2 * steps / pause) + 16)).astype(int):
        out[start : start + int(rng.integers(1, longest, endpoint=True))] = np.exp(rng.normal(0, 0.3))
    return out


def _switch(rng: Rng, steps: int) -> Floats:
    """On and off, for about as long each time."""
    spans = rng.gamma(4, rng.uniform(3, 40), steps // 2)
    times = np.searchsorted(np.cumsum(spans), np.arange(steps))
    return (times % 2).astype(np.float64)


def _saw(rng: Rng, steps: int) -> Floats:
    """Slowly up and at once down again: memory, buffers, tanks."""
    spans = rng.gamma(20, rng.uniform(1, 10), steps // 2)
    ends = np.cumsum(spans)
    turn = np.searchsorted(ends, np.arange(steps))
    return 1 - (ends[turn] - np.arange(steps)) / spans[turn]
