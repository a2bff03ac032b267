"""Streams that come and go: what is configured for each, its raster, its group, and a beginning in every part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints, StreamTable
from stream.aggregate import AGGREGATES, TRANSFORMS
from stream.gate import Gate
from stream.groups import Groups
from stream.ledger import Ledger
from stream.sentinel import Sentinel
from stream.settings import StreamRules, StreamSettings, TimeInterval
from stream.settings.streams import DEFAULT_STEP, blind_kept
from stream.windows import NewStreams, Windows

Note = tuple[str, dict[str, Any]]


class Registry:
    """Starts streams in windows, sentinel, gate, groups and ledger alike, and lets them go.

    ``blind`` (ns, per slot) is the longest time without a full look: never less than two judgements.
    """

    def __init__(
        self,
        table: StreamTable,
        rules: StreamRules,
        windows: Windows,
        sentinel: Sentinel,
        gate: Gate | None,
        groups: Groups,
        ledger: Ledger,
        blind: int,
        every: int,
        intervals: Sequence[TimeInterval] = (),
    ) -> None:
        self._table, self._rules, self._windows, self._sentinel = table, rules, windows, sentinel
        self._gate, self._groups, self._ledger, self._blind, self._every = gate, groups, ledger, blind, every
        self._raster: dict[str, tuple[int, int]] = {}  # group to the step and origin its streams are looked at on
        self.settings: list[StreamSettings] = []  # per slot
        self.blind = np.zeros(0, np.int64)
        self._intervals = intervals
        self._closes = np.zeros(0, np.int8)  # per slot: 1 + number of the interval in which it is closed, 0 = none

    def place(self, new: Sequence[int]) -> list[Note]:
        """Streams seen for the first time, in order; notes for the log."""
        notes: list[Note] = []
        moved: list[int] = []
        self._grow(max(new) + 1)
        for slot in new:
            self._resolve(slot)
            if self._groups.assign(slot, self._table.groups[slot]):
                notes.append(("group.split", {"group": self._table.groups[slot], "members": 64}))
            moved += self._settle(slot, notes)
            self._ledger.start(slot, self._table.names[slot])
        self._begin(np.array(sorted({*new, *moved}), np.int32))
        return notes

    def _grow(self, n: int) -> None:
        more = n - len(self.settings)
        if more > 0:
            self.settings.extend([StreamSettings()] * more)
            self.blind = np.append(self.blind, np.zeros(more, np.int64))
            self._closes = np.append(self._closes, np.zeros(more, np.int8))

    def _resolve(self, slot: int) -> None:
        found = self._rules.resolve(self._table.names[slot], self._table.labels[slot])
        self.settings[slot] = found
        self._table.labels[slot] = found.labels
        names = [interval.name for interval in self._intervals]
        self._closes[slot] = 1 + names.index(found.closed) if found.closed in names else 0

    def _own_raster(self, slot: int) -> tuple[int, int]:
        given = self.settings[slot].step
        if given is not None:
            return given, 0
        inferred = self._table.step[slot]
        return (inferred, self._table.origin[slot] % inferred) if inferred > 0 else (DEFAULT_STEP, 0)

    def _settle(self, slot: int, notes: list[Note]) -> list[int]:
        """The streams of one group share the largest step among them; who has to move begins anew."""
        group, own = self._table.groups[slot], self._own_raster(slot)
        shared = self._raster.setdefault(group, own)
        if own[0] <= shared[0]:
            return []
        self._raster[group] = own
        notes.append(("group.step_changed", {"group": group, "step_s": own[0] / 1e9}))
        return [mate for mate in self._groups.mates(group).tolist() if mate != slot]

    def _begin(self, slots: Ints) -> None:
        rasters = np.array([self._raster[self._table.groups[slot]] for slot in slots], np.int64).reshape(-1, 2)
        settings = [self.settings[slot] for slot in slots]
        most = max((len(s.missing) for s in settings), default=0)
        missing = np.full((slots.size, most), np.nan)
        for row, found in enumerate(settings):
            missing[row, : len(found.missing)] = found.missing
            self.blind[slots[row]] = blind_kept(found.blind or self._blind, self._every, int(rasters[row, 0]))
        aggregate = np.array([AGGREGATES.index(s.aggregate) for s in settings], np.int8)
        transform = np.array([TRANSFORMS.index(s.transform) for s in settings], np.int8)
        self._windows.start(NewStreams(slots, rasters[:, 0], rasters[:, 1], aggregate, transform, missing))
        for step in np.unique(rasters[:, 0]).tolist():
            mine = slots[rasters[:, 0] == step]
            self._sentinel.start(mine.tolist(), [self._table.names[slot] for slot in mine], step)
        if self._gate is not None:
            self._gate.start(slots)

    def closed(self, slots: Ints, ts: int) -> npt.NDArray[np.bool_]:
        """Streams [m] whose silence is expected at ``ts`` (ns): nothing of them is judged."""
        if not self._intervals:
            return np.zeros(slots.size, bool)
        holds = np.array([False, *(interval.holds(ts) for interval in self._intervals)])
        return holds[self._closes[slots]]

    def restart(self, slots: Ints) -> None:
        """Streams that were silent for so long that what was known of them is forgotten."""
        self._begin(slots)

    def release(self, slots: Ints) -> None:
        """Streams that left; their slots may be given to others."""
        if slots.size == 0:
            return
        groups = {self._table.groups[slot] for slot in slots.tolist()}
        self._windows.release(slots)
        self._groups.release(slots.tolist())
        self._ledger.release(slots)
        self._table.release(slots.tolist())
        for group in groups:
            if self._groups.mates(group).size == 0:
                self._raster.pop(group, None)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the columns."""
        return {"raster": {group: list(raster) for group, raster in self._raster.items()}}

    def adopt(self, slots: Ints, rasters: Sequence[tuple[int, int]]) -> None:
        """Streams that come with all that is known of them, in the order of their places in their groups.

        ``rasters``: step and origin of each stream's group. Their columns are put into each part by the caller.
        """
        self._grow(int(slots.max(initial=-1)) + 1)
        for slot, raster in zip(slots.tolist(), rasters, strict=True):
            self._resolve(slot)
            group = self._table.groups[slot]
            self._groups.assign(slot, group)
            self._raster.setdefault(group, raster)
            self.blind[slot] = blind_kept(self.settings[slot].blind or self._blind, self._every, raster[0])

    def raster(self, group: str) -> tuple[int, int]:
        """The step and origin on which a group is looked at, ns."""
        return self._raster[group]

    def restore(self, state: dict[str, Any]) -> None:
        """After the table, the groups and all columns were restored: settle what is configured again."""
        self._raster = {group: (raster[0], raster[1]) for group, raster in state["raster"].items()}
        self._grow(len(self._table))
        for name, slot in self._table.slot_of.items():
            self._resolve(slot)
            step = self._raster[self._table.groups[slot]][0]
            self.blind[slot] = blind_kept(self.settings[slot].blind or self._blind, self._every, step)
            self._ledger.start(slot, name)
