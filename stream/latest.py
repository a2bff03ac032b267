"""The newest verdict of every stream, in columns by slot: for the page and the API."""

from __future__ import annotations

import numpy as np

from connectors.batch import Floats, Ints, Times
from models.contract import F32
from stream.verdict import NOT_DUE, Codes, Verdicts

_NOTHING = {"score": np.nan, "value": np.nan, "weight": np.nan, "outcome": NOT_DUE, "ts": 0}


class Latest:
    """Columns by slot; NaN, NOT_DUE and 0 where no stream is, or nothing was said of it yet."""

    def __init__(self) -> None:
        self.score: F32 = np.zeros(0, np.float32)
        self.value: Floats = np.zeros(0)
        self.weight: F32 = np.zeros(0, np.float32)
        self.outcome: Codes = np.zeros(0, np.int8)
        self.ts: Times = np.zeros(0, np.int64)

    def grow(self, n: int) -> None:
        """Columns for ``n`` slots."""
        more = n - self.score.size
        if more > 0:
            for name, fill in _NOTHING.items():
                old = getattr(self, name)
                setattr(self, name, np.append(old, np.full(more, fill, old.dtype)))

    def forget(self, slots: Ints) -> None:
        """Streams that left."""
        for name, fill in _NOTHING.items():
            getattr(self, name)[slots] = fill

    def keep(self, verdicts: Verdicts) -> None:
        """Verdicts of a tick."""
        at = verdicts.tick.at
        self.score[at], self.value[at] = verdicts.score, verdicts.tick.value
        self.weight[at], self.outcome[at] = verdicts.weight, verdicts.outcome
        self.ts[at] = verdicts.tick.start
