"""Which streams are looked at together: panels of at most 64 members, in the order of first appearance."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints
from models.contract import MEMBERS


class Groups:
    """A group of more than 64 streams is looked at as several panels; the group's name stays on all of them."""

    def __init__(self) -> None:
        self.of = np.full(0, -1, np.int32)  # per slot: its panel, -1 = none
        self.member = np.full(0, -1, np.int32)  # per slot: its position in the panel
        self.slots = np.full((0, MEMBERS), -1, np.int32)  # per panel: the slots of its members, -1 = free
        self.names: list[str] = []  # per panel: the group's name
        self._panels: dict[str, list[int]] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.names)

    def assign(self, slot: int, group: str) -> bool:
        """Give a stream the first free place of its group; true when that began a further panel of the group."""
        more = slot + 1 - self.of.size
        if more > 0:
            self.of = np.append(self.of, np.full(max(more, self.of.size), -1, np.int32))
            self.member = np.append(self.member, np.full(self.of.size - self.member.size, -1, np.int32))
        panels = self._panels.setdefault(group, [])
        free = next((p for p in panels if (self.slots[p] < 0).any()), None)
        panel = self._open(group) if free is None else free
        place = int(np.argmax(self.slots[panel] < 0))
        self.slots[panel, place], self.of[slot], self.member[slot] = slot, panel, place
        return free is None and len(panels) > 1

    def _open(self, group: str) -> int:
        panel = heapq.heappop(self._free) if self._free else len(self.names)
        self.names[panel : panel + 1] = [group]
        bisect.insort(self._panels[group], panel)
        if panel >= len(self.slots):
            self.slots = np.vstack([self.slots, np.full((max(16, panel), MEMBERS), -1, np.int32)])
        return panel

    def mates(self, group: str) -> Ints:
        """The slots of all members of a group."""
        found = self.slots[self._panels.get(group, [])].reshape(-1)
        return found[found >= 0]

    def release(self, slots: Sequence[int]) -> None:
        """Streams that left: their places may be given to others, and so may the panels of groups without members."""
        gone = np.array(slots, np.intp)
        panels = np.unique(self.of[gone])
        self.slots[self.of[gone], self.member[gone]] = -1
        self.of[gone] = self.member[gone] = -1
        for panel in panels[(self.slots[panels] < 0).all(axis=1)].tolist():
            self._close(panel)

    def _close(self, panel: int) -> None:
        group = self.names[panel]
        self._panels[group].remove(panel)
        if not self._panels[group]:
            del self._panels[group]
        self.names[panel] = ""
        heapq.heappush(self._free, panel)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint; the names of the panels are apart (``names``)."""
        return {"of": self.of, "member": self.member, "slots": self.slots}

    def restore(self, columns: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> None:
        """The inverse of ``columns`` and ``names``."""
        self.of, self.member, self.slots = columns["of"], columns["member"], columns["slots"]
        self.names = list(names)
        for panel, name in enumerate(self.names):
            if name:
                self._panels.setdefault(name, []).append(panel)
            else:
                heapq.heappush(self._free, panel)
