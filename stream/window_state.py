"""What windows are made of: columns per stream, lanes, open steps; how they grow, are kept and restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Ints
from connectors.keeping.store import StoreError
from models.contract import F32
from stream.aggregate import OpenSteps, Transforms
from stream.lane import Lane, lane_of
from stream.watermark import NEVER, Watermarks

MOST_OPEN = 32  # steps; a finer raster lets its readings wait
COUNTS = ("readings", "late", "future", "duplicate", "missing", "not_finite", "refused")
PER_SLOT: Mapping[str, Any] = {
    "offset": 0.0, "lane": -1, "_step": 1, "_origin": 0, "last": NEVER, "_newest": NEVER, "_since": NEVER,
    "_after": NEVER, "partition": -1, "_ending": False, "valid": 0, "steps": 0, "rate": 0.0,
}  # fmt: skip
_KEPT = (*PER_SLOT, "_ring", "_missing")
MOVED = tuple(name for name in _KEPT if name not in ("lane", "_after", "partition", "_ending"))


class WindowState:
    """Per-stream columns over slots. Times are ns; ``ttl`` is how long a stream may bring nothing."""

    def __init__(self, size: int, lateness: int, future: int, idle: int, ttl: int) -> None:
        self.size, self.lateness, self._future, self._ttl = size, lateness, future, ttl
        self.marks = Watermarks(lateness, idle)
        self.lanes: list[Lane] = []
        self._number: dict[tuple[int, int], int] = {}  # step and origin of a lane to its number
        self._room = 3
        self._open = OpenSteps(self._room)
        self._transforms = Transforms()
        self._ring: F32 = np.zeros((0, size), np.float32)
        self._missing: Floats = np.zeros((0, 0))
        self.offset = np.zeros(0)
        self.lane = np.zeros(0, np.int32)  # per slot: number of its lane, -1 = none
        self._step = np.zeros(0, np.int64)
        self._origin = np.zeros(0, np.int64)
        self.last = np.zeros(0, np.int64)  # last step with a reading, of those that are closed
        self._newest = np.zeros(0, np.int64)  # the same, open steps and readings that wait included
        self._since = np.zeros(0, np.int64)  # watermark from which the stream waits for its first reading
        self._after = np.zeros(0, np.int64)  # it takes part in the steps of its lane after this one
        self.partition = np.zeros(0, np.int32)  # per slot: the partition of its newest reading, -1 = none
        self._ending = np.zeros(0, bool)  # its partition has ended: it is drained, then it leaves
        self.valid = np.zeros(0, np.int32)  # steps with a reading among the last ``size``
        self.steps = np.zeros(0, np.uint32)  # steps with a reading so far
        self.rate = np.zeros(0, np.float32)  # readings per second
        self._begins: set[int] = set()  # partitions of which nothing was read yet, and others may have read
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self._behind_until = NEVER  # clock's time at which readings that had waited were last taken in
        self.grow(1)

    def grow(self, n: int) -> None:
        """Columns for ``n`` slots, given in powers of two."""
        have = self.lane.size
        if n <= have:
            return
        more = max(n, 2 * have, 64) - have
        for name, fill in PER_SLOT.items():
            old = getattr(self, name)
            setattr(self, name, np.append(old, np.full(more, fill, old.dtype)))
        self._ring = np.vstack([self._ring, np.full((more, self.size), np.nan, np.float32)])
        self._missing = np.vstack([self._missing, np.full((more, self._missing.shape[1]), np.nan)])
        self._open.grow(have + more, self._room)
        self._transforms.grow(have + more)

    def _join(self, slots: Ints, number: int) -> None:
        lane = self.lanes[number]
        lane.steady = NEVER
        lane.slots = np.union1d(lane.slots, slots).astype(np.int32)
        self.lane[slots] = number

    def _lane_number(self, step: int, origin: int) -> int:
        if (step, origin) not in self._number:
            self._number[step, origin] = len(self.lanes)
            self.lanes.append(Lane(step, origin))
            self._make_room(min(-(-self.lateness // step) + 2, MOST_OPEN))
        return self._number[step, origin]

    def _make_room(self, room: int) -> None:
        """A finer raster needs more open steps; what is open moves to its new place."""
        wide = max(room, self._room)
        if wide > self._room:
            before = self._open
            self._open = before.widened(wide, [part for lane in self.lanes for part in self._by_place(lane)])
            self._room = wide

    def _by_place(self, lane: Lane) -> list[tuple[Ints, int | None]]:
        """Streams of a lane, and the step up to which theirs are closed: the same one for all, nearly always."""
        if lane.closed is None or lane.apart <= lane.closed:
            return [(lane.slots, lane.closed)]
        closed = np.maximum(self._after[lane.slots], lane.closed)
        return [(lane.slots[closed == k], int(k)) for k in np.unique(closed)]

    # -- a checkpoint

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that windows depend on: rings, open steps, lanes with what waits in them, watermarks."""
        columns: dict[str, npt.NDArray[Any]] = {f"slot.{name}": getattr(self, name) for name in _KEPT}
        columns |= prefixed("open", self._open.columns()) | prefixed("transform", self._transforms.columns())
        columns |= prefixed("marks", self.marks.columns())
        for number, lane in enumerate(self.lanes):
            columns |= prefixed(f"lane{number}", lane.columns())
        columns["behind_until"] = np.array([self._behind_until])
        return columns | {"counts": np.array([self.counts[reason] for reason in COUNTS], np.int64)}

    def restore(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``; raises StoreError where ``size`` was another."""
        size = columns["slot._ring"].shape[1]
        if size != self.size:
            raise StoreError(f"the checkpoint holds windows of {size} steps, not {self.size}: remove it to start anew")
        for name in _KEPT:
            setattr(self, name, columns[f"slot.{name}"])
        self._open.restore(part_of(columns, "open"))
        self._transforms.restore(part_of(columns, "transform"))
        self.marks.restore(part_of(columns, "marks"))
        self._room = self._open.room
        self.lanes = []
        while lane := part_of(columns, f"lane{len(self.lanes)}"):
            self.lanes.append(lane_of(lane))
        self._number = {(lane.step, lane.origin): number for number, lane in enumerate(self.lanes)}
        self._behind_until = int(columns["behind_until"][0])
        self.counts = dict(zip(COUNTS, columns["counts"].tolist(), strict=True))


def prefixed(prefix: str, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}.{name}": column for name, column in columns.items()}


def part_of(columns: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    start = prefix + "."
    return {name[len(start) :]: column for name, column in columns.items() if name.startswith(start)}
