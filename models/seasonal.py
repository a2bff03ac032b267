"""Seasonal tables: what this time of the day and this hour of the week are like, a mean and a count per bin.

Tables are [bin + 2, stream], float16 means and u8 counts; the first and last row repeat the other end, so that the
neighbours of a bin are always the rows beside it. ``at`` selects streams: a slice (a view) or slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Ix = npt.NDArray[np.intp] | I32
At = slice | I32 | Ix

MINUTE = 60_000_000_000  # nanoseconds
FIVE_MINUTES = 5 * MINUTE  # steps shorter than this are averaged over it before a table learns
LARGEST = np.float32(65504)  # of float16
_WEIGHT = np.array([[0.5], [1.0], [0.5]], np.float32)


@dataclass(frozen=True, slots=True)
class Season:
    """How a table divides time. Times are nanoseconds since the epoch, UTC; the epoch was a Thursday."""

    bins: int
    width: int  # of a bin, in periods of 5 minutes
    cap: int  # visits after which a bin forgets

    def bin(self, period: int) -> int:
        """The bin that a period of 5 minutes (since the epoch) lies in."""
        return period // self.width % self.bins

    def bins_of(self, period: I32) -> I32:
        """The same for many."""
        return period // self.width % self.bins


DAY = Season(48, 6, 14)
WEEK = Season(168, 12, 4)


@dataclass(slots=True)
class Table:
    """Means and counts of one season for a number of streams."""

    season: Season
    mean: F16
    count: U8

    @classmethod
    def empty(cls, season: Season, streams: int) -> Table:
        """A table that knows nothing yet."""
        shape = (season.bins + 2, streams)
        return cls(season, np.zeros(shape, np.float16), np.zeros(shape, np.uint8))

    def predict(self, bin: int, at: At, otherwise: F32) -> F32:
        """The weighted mean of the bin and its neighbours, ``otherwise`` where they know too little; [m]."""
        weight = self.count[bin : bin + 3, at].astype(np.float32)
        weight *= _WEIGHT
        total = weight[0] + weight[1]
        total += weight[2]
        weight *= self.mean[bin : bin + 3, at]
        sums = weight[0] + weight[1]
        sums += weight[2]
        known = total >= 1
        np.maximum(total, 1, out=total)
        sums /= total
        return sums if known.all() else np.where(known, sums, otherwise)

    def visit(self, bin: int, at: At, x: F32) -> None:
        """Learn x [m] in one bin."""
        self._learn(bin + 1, at, x)
        if bin == 0:
            self._copy(self.season.bins + 1, 1, at)
        elif bin == self.season.bins - 1:
            self._copy(0, self.season.bins, at)

    def visit_each(self, bins: I32, slots: Ix, x: F32) -> None:
        """Learn x [m] in a bin per stream."""
        for bin in np.unique(bins):
            here = bins == bin
            self.visit(int(bin), slots[here], x[here])

    def _learn(self, row: int, at: At, x: F32) -> None:
        count = self.count[row, at].copy()
        count += 1
        np.minimum(count, self.season.cap, out=count)
        mean = self.mean[row, at].astype(np.float32)
        mean += (x - mean) / count
        np.clip(mean, -LARGEST, LARGEST, out=mean)
        self.count[row, at] = count
        self.mean[row, at] = mean

    def _copy(self, row: int, source: int, at: At) -> None:
        self.mean[row, at] = self.mean[source, at]
        self.count[row, at] = self.count[source, at]

    def rescale(self, slots: Ix, octaves: I32) -> None:
        """The unit of these streams grew."""
        by = np.ldexp(np.float32(1), -octaves)
        self.mean[:, slots] = self.mean[:, slots].astype(np.float32) * by

    def shift(self, slots: Ix, by: F32) -> None:
        """Move all that is known of these streams by [m]."""
        moved = self.mean[:, slots].astype(np.float32) + by * (self.count[:, slots] > 0)
        self.mean[:, slots] = np.clip(moved, -LARGEST, LARGEST)

    def clear(self, slots: At) -> None:
        """Forget these streams."""
        self.mean[:, slots] = 0
        self.count[:, slots] = 0

    def grown(self, streams: int) -> Table:
        """The same with room for more streams."""
        wider = Table.empty(self.season, streams)
        wider.mean[:, : self.mean.shape[1]] = self.mean
        wider.count[:, : self.mean.shape[1]] = self.count
        return wider
