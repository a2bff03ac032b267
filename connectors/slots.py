"""Names behind slots and slots behind names, kept right while slots are released and given again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from connectors.batch import REFUSED, Ints, StreamTable

UNKNOWN = -2  # not looked up yet, or released since


class Stream(NamedTuple):
    """What a source knows of a stream; ``step`` and ``origin`` in ns, 0 = not known."""

    name: str
    group: str
    labels: Mapping[str, str] = {}
    step: int = 0
    origin: int = 0


class Numbers:
    """Numbers that stay with a stream's name for good, for files that outlive a slot's tenant."""

    def __init__(self, table: StreamTable) -> None:
        self._table = table
        self._seen: list[str] = []
        self._number = np.empty(0, np.int32)  # by slot
        self._number_of: dict[str, int] = {}
        self.streams: list[Stream] = []

    def of(self, slots: Ints) -> Ints:
        """The number of each slot's present stream, -1 where the slot is REFUSED."""
        if self._table.names != self._seen:  # compares by identity: some nanoseconds a stream
            self._refresh()
        return np.append(self._number, REFUSED).astype(np.int32)[slots]  # REFUSED = -1 takes the last

    def _refresh(self) -> None:
        seen, self._seen = self._seen, self._table.names.copy()
        old, self._number = self._number, np.full(len(self._seen), UNKNOWN, np.int32)
        self._number[: len(old)] = old
        for slot, name in enumerate(self._seen):
            if name and (slot >= len(seen) or name != seen[slot]):
                self._number[slot] = self._give(name, slot)

    def _give(self, name: str, slot: int) -> int:
        number = self._number_of.setdefault(name, len(self.streams))
        if number == len(self.streams):
            t = self._table
            self.streams.append(Stream(name, t.groups[slot], dict(t.labels[slot]), t.step[slot], t.origin[slot]))
        return number


class Slots:
    """The slots of a source's own streams, which it numbers; each is looked up when its first reading comes."""

    def __init__(self, table: StreamTable) -> None:
        self._table = table
        self._streams: list[Stream] = []
        self._slot = np.empty(0, np.int32)  # by number
        self._seen: list[str] = []

    def add(self, streams: Sequence[Stream]) -> int:
        """Number further streams; returns the number of the first."""
        first = len(self._streams)
        self._streams += streams
        self._slot = np.r_[self._slot, np.full(len(streams), UNKNOWN, np.int32)]
        return first

    def of(self, numbers: Ints) -> Ints:
        """The slot of each reading's stream; REFUSED where the table is full."""
        if self._table.names != self._seen:
            self._forget_released()
        slots = self._slot[numbers]
        if len(slots) and slots.min() == UNKNOWN:
            self._look_up(dict.fromkeys(numbers[slots == UNKNOWN].tolist()))
            slots = self._slot[numbers]
        return slots

    def look_up(self, numbers: Sequence[int]) -> None:
        """Give these streams their slots now, in this order."""
        self._look_up(dict.fromkeys(numbers))

    def _look_up(self, numbers: Mapping[int, None]) -> None:
        for number in numbers:
            self._slot[number] = self._table.slot(*self._streams[number])
        self._seen = self._table.names.copy()

    def _forget_released(self) -> None:
        names = self._seen = self._table.names.copy()
        for number in np.flatnonzero(self._slot != UNKNOWN).tolist():
            slot = self._slot[number]
            if slot == REFUSED or names[slot] != self._streams[number].name:
                self._slot[number] = UNKNOWN
