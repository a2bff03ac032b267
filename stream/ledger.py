"""The account of every window due: what was looked at, what was not, and why. It conserves, per stream, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints

OUTCOMES = ("full", "lite", "sentinel", "shed", "gap", "warmup")
FULL, LITE, SENTINEL, SHED, GAP, WARMUP = range(6)
LOOKED = (FULL, LITE)
Counts = npt.NDArray[np.int64]


class Ledger:
    """Windows by outcome, per stream [outcome, slot] and in all. Windows due are their sum: nothing is counted twice.

    Streams that left stay in the totals. After a restart, counts wait under the stream's name until it has a slot.
    """

    def __init__(self) -> None:
        self.counts: Counts = np.zeros((len(OUTCOMES), 0), np.int64)
        self.total: Counts = np.zeros(len(OUTCOMES), np.int64)
        self._waiting: dict[str, Counts] = {}

    def grow(self, n: int) -> None:
        """Columns for ``n`` slots."""
        more = n - self.counts.shape[1]
        if more > 0:
            self.counts = np.hstack([self.counts, np.zeros((len(OUTCOMES), max(more, n)), np.int64)])

    def start(self, slot: int, name: str) -> None:
        """A stream that begins, or comes back after a restart with what was counted before."""
        self.grow(slot + 1)
        self.counts[:, slot] = self._waiting.pop(name, 0)

    def release(self, slots: Ints) -> None:
        """Streams that left; what they had stays in the totals."""
        self.counts[:, slots] = 0

    def count(self, at: slice | Ints, outcome: npt.NDArray[np.int8]) -> None:
        """One window of each stream that ``at`` selects [m] got ``outcome`` [m]."""
        if outcome.size and (outcome == outcome[0]).all():
            self.counts[outcome[0], at] += 1
        else:
            slots = np.arange(at.start, at.stop) if isinstance(at, slice) else at
            self.counts[outcome, slots] += 1
        self.total += np.bincount(outcome, minlength=len(OUTCOMES))

    def windows(self) -> dict[str, int]:
        """Totals by outcome, and ``due``."""
        return {"due": int(self.total.sum())} | {o: int(n) for o, n in zip(OUTCOMES, self.total, strict=True)}

    def coverage(self) -> float:
        """Share of windows due that got a full or lite look; 1 while none was due."""
        return share_looked_at(self.total)

    def take(self, slots: Ints) -> Counts:
        """Counts of some streams [outcome, m]."""
        self.grow(int(slots.max(initial=-1)) + 1)
        return self.counts[:, slots]

    def put(self, slots: Ints, counts: Counts) -> None:
        """Streams that were counted by another process so far; the totals stay what was counted here."""
        self.grow(int(slots.max(initial=-1)) + 1)
        self.counts[:, slots] = counts

    def wait(self, counts: Mapping[str, Counts]) -> None:
        """Counts [outcome] of streams by name that may come again."""
        self._waiting |= {name: own.copy() for name, own in counts.items()}

    def waiting(self, name: str) -> Counts:
        """Counts [outcome] of a stream that has not come again."""
        return self._waiting.get(name, np.zeros(len(OUTCOMES), np.int64))

    def wait_no_more(self, names: Sequence[str]) -> None:
        """Another process goes on with these."""
        for name in names:
            self._waiting.pop(name, None)

    def snapshot(self, names: Sequence[str]) -> tuple[list[str], Counts, Counts]:
        """Names, counts [outcome, stream] and totals, for the store; ``names`` by slot, "" = free."""
        live = [slot for slot, name in enumerate(names) if name and slot < self.counts.shape[1]]
        waiting = list(self._waiting)
        columns = [self.counts[:, live], *(self._waiting[name][:, None] for name in waiting)]
        return [names[slot] for slot in live] + waiting, np.hstack(columns), self.total.copy()

    def restore(self, names: Sequence[str], counts: Counts, total: Counts) -> None:
        """The inverse of ``snapshot``, before any stream has started."""
        self._waiting = {name: counts[:, i].copy() for i, name in enumerate(names)}
        self.total = total.copy()


def share_looked_at(total: Counts) -> float:
    """Coverage of totals by outcome [outcome]."""
    due = int(total.sum())
    return float(total[list(LOOKED)].sum() / due) if due else 1.0
