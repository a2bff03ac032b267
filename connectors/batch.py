"""Readings in columns: what one poll of a source brought, and the tables its columns point into."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]  # nanoseconds since the epoch, UTC
Floats = npt.NDArray[np.float64]

SECOND = 1_000_000_000  # nanoseconds
NO_LABELS: Mapping[str, str] = {}  # one for all streams that have none
REFUSED = -1  # the slot of a stream that the limit on streams turned away


@dataclass(slots=True)
class StreamTable:
    """Stream names and their slots: one table per process, shared by every source.

    A slot is a small integer; all per-stream state elsewhere is columns indexed by it. Slots of released streams
    are used again, the lowest first, so that the same readings always give the same slots.

    ``step`` and ``origin`` (ns) are what a source knows of a stream's raster (a file infers them); 0 = not known.
    """

    limit: int = 100_000
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    slot_of: dict[str, int] = field(default_factory=dict)
    refused: int = 0  # names turned away (a name that keeps coming counts each time it is looked up)
    retaken: int = 0  # grows when slots are taken back: who remembers slots has to look them up again
    _free: list[int] = field(default_factory=list)
    _new: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """Slots ever handed out: the length that per-stream columns need."""
        return len(self.names)

    def slot(
        self, name: str, group: str, labels: Mapping[str, str] | None = None, step: int = 0, origin: int = 0
    ) -> int:
        """The slot of a stream, new ones given on first sight; ``REFUSED`` where the limit is reached."""
        found = self.slot_of.get(name)
        return found if found is not None else self._add(name, sys.intern(group), labels or NO_LABELS, step, origin)

    def _add(self, name: str, group: str, labels: Mapping[str, str], step: int, origin: int) -> int:
        if len(self.slot_of) >= self.limit:
            self.refused += 1
            return REFUSED
        slot = heapq.heappop(self._free) if self._free else self._grow()
        self.names[slot], self.groups[slot], self.labels[slot] = name, group, labels
        self.step[slot], self.origin[slot] = step, origin
        self.slot_of[name] = slot
        self._new.append(slot)
        return slot

    def _grow(self) -> int:
        for column, empty in ((self.names, ""), (self.groups, "")):
            column.append(empty)
        self.labels.append(NO_LABELS)
        self.step.append(0)
        self.origin.append(0)
        return len(self.names) - 1

    def take_new(self) -> list[int]:
        """Slots given since the last call, in the order of first appearance."""
        new, self._new = self._new, []
        return new

    def known(self, slots: Sequence[int]) -> None:
        """These are not new: what is known of their streams came with them."""
        given = set(slots)
        self._new = [slot for slot in self._new if slot not in given]

    def state(self) -> dict[str, object]:
        """For a checkpoint: JSON-like."""
        columns = {"names": self.names, "groups": self.groups, "labels": [dict(labels) for labels in self.labels]}
        return {**columns, "step": self.step, "origin": self.origin}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``; none of these streams is new."""
        self.names, self.groups = list(state["names"]), [sys.intern(group) for group in state["groups"]]
        self.labels = [labels or NO_LABELS for labels in state["labels"]]
        self.step, self.origin = list(state["step"]), list(state["origin"])
        self.slot_of = {name: slot for slot, name in enumerate(self.names) if name}
        self._free = [slot for slot, name in enumerate(self.names) if not name]
        self.retaken += 1

    def release(self, slots: Sequence[int]) -> None:
        """Forget streams; their slots may be given to others."""
        self.retaken += 1
        for slot in slots:
            del self.slot_of[self.names[slot]]
            self.names[slot], self.groups[slot], self.labels[slot] = "", "", NO_LABELS
            heapq.heappush(self._free, slot)


@dataclass(slots=True)
class PartitionTable:
    """Names of partitions (``topic/3``, a file's path, ``stdin``) and their numbers: one table per process."""

    names: list[str] = field(default_factory=list)
    number_of: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number of a partition, given on first sight."""
        if name not in self.number_of:
            self.number_of[name] = len(self.names)
            self.names.append(name)
        return self.number_of[name]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll brought. An empty batch is normal: it means that time passed.

    All columns have length n. Readings of one partition stand in the partition's own order.
    ``value`` is NaN where a reading says that the value is missing. ``positions`` holds, for every partition this
    poll moved, the offset to read next (undecodable messages move it too). ``at_end`` names the partitions read to
    their end as of this poll, ``ended`` those that will bring nothing more. ``backlog`` is true for readings that
    waited before heed was up or could read. ``held`` names the partitions that have more and can't bring it until
    something else is done, or whose producers may only be on their way back: they are neither quiet nor at their end,
    and are to be waited for.
    """

    stream: Ints  # slot in the StreamTable, REFUSED = turned away
    ts: Times  # event time
    arrived: Times  # when the reading could first have been read
    value: Floats
    partition: Ints  # number in the PartitionTable
    offset: Times  # record offset in a partition, row in a file
    positions: Mapping[int, int] = field(default_factory=dict)
    at_end: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()
    backlog: npt.NDArray[np.bool_] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)  # what the source counted: records, undecodable, ...
    held: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Batch:
        """The readings at ``rows``, with none of what the poll says of its partitions."""
        return Batch(
            self.stream[rows],
            self.ts[rows],
            self.arrived[rows],
            self.value[rows],
            self.partition[rows],
            self.offset[rows],
            backlog=None if self.backlog is None else self.backlog[rows],
        )


def empty(
    at_end: tuple[int, ...] = (), ended: tuple[int, ...] = (), positions: Mapping[int, int] | None = None
) -> Batch:
    """A batch without readings."""
    none32, none64 = np.empty(0, np.int32), np.empty(0, np.int64)
    return Batch(none32, none64, none64, np.empty(0), none32, none64, positions or {}, at_end, ended)


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch of several, in their order; later positions and ends win over earlier ones."""
    if not batches:
        return empty()
    if len(batches) == 1:
        return batches[0]
    positions: dict[int, int] = {}
    counts: dict[str, int] = {}
    for batch in batches:
        positions.update(batch.positions)
        for reason, n in batch.counts.items():
            counts[reason] = counts.get(reason, 0) + n
    return Batch(
        np.concatenate([b.stream for b in batches]),
        np.concatenate([b.ts for b in batches]),
        np.concatenate([b.arrived for b in batches]),
        np.concatenate([b.value for b in batches]),
        np.concatenate([b.partition for b in batches]),
        np.concatenate([b.offset for b in batches]),
        positions,
        tuple(dict.fromkeys(p for b in batches for p in b.at_end)),
        tuple(dict.fromkeys(p for b in batches for p in b.ended)),
        _backlogs(batches),
        counts,
        tuple(dict.fromkeys(p for b in batches for p in b.held)),
    )


def _backlogs(batches: Sequence[Batch]) -> npt.NDArray[np.bool_] | None:
    if all(batch.backlog is None for batch in batches):
        return None
    return np.concatenate([np.zeros(len(b), bool) if b.backlog is None else b.backlog for b in batches])
