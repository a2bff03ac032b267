"""A lane: the streams of one raster (steps of one length from one origin), and its readings that wait for room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Ints, Times

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tick:
    """The frames of all groups with one step length that close at one step.

    ``slots`` [m] are the streams with a window due, ascending; ``value`` [m] is NaN where a stream has no reading in
    this step. ``arrived`` is when the last reading needed arrived (0: there was none).
    """

    lane: tuple[int, int]  # step and origin, ns
    k: int  # number of the step: start = origin + k * step
    step: int
    start: int
    due: int
    slots: Ints
    value: Floats
    present: Bools
    arrived: int
    backlog: bool

    @property
    def end(self) -> int:
        """End of the step, ns."""
        return self.start + self.step


@dataclass(frozen=True, slots=True)
class Held:
    """Readings of one lane that wait until their step has room; sorted by step, those of one step by arrival."""

    k: Times
    slot: Ints
    ts: Times
    arrived: Times
    value: Floats
    backlog: Bools

    def cut(self, k: int) -> tuple[Held, Held]:
        """Those up to step ``k``, and the rest."""
        at = int(np.searchsorted(self.k, k, side="right"))
        return self._part(slice(0, at)), self._part(slice(at, None))

    def with_more(self, other: Held) -> Held:
        """Both."""
        return Held(*(np.concatenate([getattr(self, f), getattr(other, f)]) for f in self.__slots__)).sorted()

    def sorted(self) -> Held:
        """The same, sorted by step."""
        if self.k.size < 2 or (self.k[1:] >= self.k[:-1]).all():
            return self
        return self._part(np.argsort(self.k, kind="stable"))

    def only(self, rows: Bools) -> Held:
        """Those where ``rows`` is true."""
        return self._part(np.flatnonzero(rows))

    def _part(self, rows: slice | npt.NDArray[np.intp]) -> Held:
        return Held(*(getattr(self, f)[rows] for f in self.__slots__))


@dataclass(slots=True)
class Lane:
    """``closed`` is the last step that is closed (None: no reading yet), ``top`` the highest one with a reading.

    ``arrived`` and ``backlog`` say of each open step (modulo their length, the room) when its last reading arrived,
    and whether all of its readings had waited before heed could read.
    """

    step: int
    origin: int
    slots: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    closed: int | None = None
    top: int = 0
    held: Held | None = None
    arrived: Times = field(default_factory=lambda: np.zeros(0, np.int64))
    backlog: Bools = field(default_factory=lambda: np.ones(0, bool))

    def end_of(self, k: int) -> int:
        """End of step ``k``, ns."""
        return self.origin + (k + 1) * self.step

    def last_before(self, time: int) -> int:
        """The last step that ends at ``time`` (ns) or earlier."""
        return (time - self.origin) // self.step - 1

    def widen(self, room: int) -> None:
        """Room for more open steps."""
        old, was, whether = self.arrived.size, self.arrived, self.backlog
        self.arrived, self.backlog = np.zeros(room, np.int64), np.ones(room, bool)
        if self.closed is not None:
            for k in range(self.closed + 1, self.closed + old + 1):
                self.arrived[k % room], self.backlog[k % room] = was[k % old], whether[k % old]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint: what it is, its streams, its open steps and what waits."""
        head = np.array([self.step, self.origin, self.closed is not None, self.closed or 0, self.top], np.int64)
        own = {"head": head, "slots": self.slots, "arrived": self.arrived, "backlog": self.backlog}
        held = {} if self.held is None else {f"held.{f}": getattr(self.held, f) for f in Held.__slots__}
        return own | held


def lane_of(columns: Mapping[str, npt.NDArray[Any]]) -> Lane:
    """The lane that gave these ``columns``."""
    step, origin, begun, closed, top = columns["head"].tolist()
    held = Held(*(columns[f"held.{f}"] for f in Held.__slots__)) if "held.k" in columns else None
    rest = columns["slots"], closed if begun else None, top, held, columns["arrived"], columns["backlog"]
    return Lane(step, origin, *rest)
