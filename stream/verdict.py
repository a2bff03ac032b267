"""What was said of the streams of one tick, in columns, and how it was come by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints
from models.contract import F32
from stream.lane import Tick
from stream.ledger import FULL, LITE, SHED

FIDELITIES = ("", "sentinel", "lite", "full")
NOTHING, BY_SENTINEL, BY_LITE, BY_FULL = range(4)
NOT_DUE = -1  # outcome of a window that is not judged at this step

Codes = npt.NDArray[np.int8]


@dataclass(slots=True)
class Verdicts:
    """Columns over ``tick.slots`` [m]; NaN where nothing is said. ``outcome`` as in ledger.OUTCOMES or NOT_DUE.

    ``reason`` is a code of selection.REASONS: why a window was admitted or shed. ``lag`` is in seconds.
    """

    tick: Tick
    score: F32
    p: F32
    expected: F32
    low: F32
    high: F32
    weight: F32
    age: F32  # seconds since the last full look before this tick
    outcome: Codes
    fidelity: Codes
    reason: Codes
    rank: npt.NDArray[np.int32]  # place in the order of work, -1 = not admitted
    explained: dict[int, tuple[Ints, F32]] = field(default_factory=dict)  # slot: who explains it, and their shares

    @property
    def due(self) -> npt.NDArray[np.bool_]:
        """Windows that were to be looked at, whether that was done, shed, or there was no model [m]."""
        return (self.outcome >= FULL) & (self.outcome <= SHED)

    @property
    def looked(self) -> npt.NDArray[np.bool_]:
        """Windows that got a full or lite look [m]."""
        return (self.outcome >= FULL) & (self.outcome <= LITE)

    def coverage(self, panel: Ints, panels: int) -> F32:
        """Share of each stream's panel [m] that was looked at, of those that were due a look; 1 where none was."""
        due, seen = self.due, self.looked
        if not seen.any() and due.all():
            return np.zeros(due.size, np.float32)
        if (due == seen).all():
            return np.ones(due.size, np.float32)
        wanted, looked = np.bincount(panel[due], minlength=panels), np.bincount(panel[seen], minlength=panels)
        share = np.where(wanted > 0, looked / np.maximum(wanted, 1), 1.0)
        return share[panel].astype(np.float32)


def nothing_said(tick: Tick) -> Verdicts:
    """Verdicts of a tick of which nothing is known yet."""
    m = tick.slots.size
    a, b, c, d, e, f, g = (np.full(m, np.nan, np.float32) for _ in range(7))
    zeros = np.zeros(m, np.int8)
    outcome, rank = np.full(m, NOT_DUE, np.int8), np.full(m, -1, np.int32)
    return Verdicts(tick, a, b, c, d, e, f, g, outcome, zeros, zeros.copy(), rank)
