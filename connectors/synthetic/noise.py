"""Seeded randomness by blocks of steps: any block can be had at any time, whatever was asked for before."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

BLOCK = 128  # steps drawn at once
_ANCHOR = 4096  # blocks between the fixed points of a walk; it strays no further than that many blocks let it
_EARLIER = 8  # blocks before step 0 that can be had (seeds are not negative)

Floats32 = npt.NDArray[np.float32]  # [BLOCK, width] here, or [width]


def generator(*path: int) -> np.random.Generator:
    """The generator that belongs to a path of numbers, none of them negative: a seed, a purpose, a place."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(path)))


class White:
    """Independent unit noise."""

    def __init__(self, seed: int, purpose: int, width: int) -> None:
        self._path, self._width = (seed, purpose), width
        self.block = lru_cache(maxsize=3)(self._block)

    def _block(self, b: int) -> Floats32:
        return generator(*self._path, b + _EARLIER).standard_normal((BLOCK, self._width), np.float32)


class Autoregressive:
    """Noise of unit variance where each step keeps ``phi`` of the one before.

    What came before a block is taken from one block back alone, so that every block stands by itself: what that
    leaves out is ``phi ** BLOCK``, nothing for ``phi`` up to 0.96.
    """

    def __init__(self, seed: int, purpose: int, phi: npt.NDArray[np.float64]) -> None:
        self._white = White(seed, purpose, len(phi))
        self._phi = phi.astype(np.float32)
        self._share = np.sqrt(1 - self._phi**2)
        self._fade = (phi ** np.arange(BLOCK - 1, -1, -1)[:, None]).astype(np.float32)
        self.block = lru_cache(maxsize=3)(self._block)

    def _block(self, b: int) -> Floats32:
        x = self._white.block(b) * self._share
        last = np.einsum("bs,bs->s", self._fade, self._white.block(b - 1)) * self._share
        for row in x:
            row += self._phi * last
            last = row
        return x


class Walk:
    """Random walks with steps of unit variance, tied to stationary fixed points far apart.

    Between the fixed points lies a Brownian path, refined by halves (Lévy's construction), which is what makes any
    block reachable without its past.
    """

    def __init__(self, seed: int, purpose: int, width: int) -> None:
        self._path, self._width = (seed, purpose), width
        self._steps = White(seed, purpose + 1, width)
        self._at = lru_cache(maxsize=128)(self._compute)
        self.block = lru_cache(maxsize=3)(self._block)

    def _compute(self, b: int) -> npt.NDArray[np.float64]:
        """Where the walks stand at the first step of a block: [width]."""
        draw = generator(*self._path, b + _ANCHOR).standard_normal(self._width)
        if b % _ANCHOR == 0:
            return draw * math.sqrt(_ANCHOR * BLOCK / 2)
        half = b & -b
        middle: npt.NDArray[np.float64] = (self._at(b - half) + self._at(b + half)) / 2
        return middle + draw * math.sqrt(half * BLOCK / 2)

    def _block(self, b: int) -> npt.NDArray[np.float64]:
        steps = self._steps.block(b).astype(np.float64)
        path = np.cumsum(steps, axis=0)
        done = np.arange(BLOCK)[:, None] / BLOCK
        start, end = self._at(b), self._at(b + 1)
        return np.asarray(start + (path - steps) - done * path[-1] + done * (end - start))


class Wander:
    """Slow, smooth movement of about unit size between seeded points ``blocks`` blocks apart."""

    def __init__(self, seed: int, purpose: int, width: int, blocks: int) -> None:
        self._path, self._width, self._blocks = (seed, purpose), width, blocks
        self._knot = lru_cache(maxsize=4)(self._draw)

    def _draw(self, knot: int) -> npt.NDArray[np.float64]:
        return generator(*self._path, knot + _EARLIER).standard_normal(self._width)

    def block(self, b: int) -> npt.NDArray[np.float64]:
        knot, within = divmod(b, self._blocks)
        t = ((within + np.arange(BLOCK) / BLOCK) / self._blocks)[:, None]
        share = t * t * (3 - 2 * t)
        return np.asarray(self._knot(knot) * (1 - share) + self._knot(knot + 1) * share)
