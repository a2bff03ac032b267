"""A lane: the streams of one raster (steps of one length from one origin), and its readings that wait for room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Ints, Times
from stream.watermark import NEVER

Bools = npt.NDArray[np.bool_]
At = slice | Ints  # which streams: their slots, or the range of them


@dataclass(frozen=True, slots=True)
class Tick:
    """The frames of all groups with one step length that close at one step.

    ``slots`` [m] are the streams with a window due, ascending; ``value`` [m] is NaN where a stream has no reading in
    this step. ``due`` is when the clock alone would have closed it: its end + lateness, later where readings come
    that much after their event time. ``arrived`` is when the last reading needed arrived (0: there was none).
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

    @property
    def at(self) -> At:
        """The place of its streams in columns by slot."""
        return place_of(self.slots)

    def only(self, rows: Bools) -> Tick:
        """The same of some of its streams."""
        return replace(self, slots=self.slots[rows], value=self.value[rows], present=self.present[rows])


def place_of(slots: Ints) -> At:
    """Slots (ascending, none twice) as a slice where they are a range: some times as fast as an index."""
    if slots.size and int(slots[-1]) - int(slots[0]) + 1 == slots.size:
        return slice(int(slots[0]), int(slots[-1]) + 1)
    return slots


@dataclass(frozen=True, slots=True)
class Held:
    """Readings of one lane; sorted by step, those of one step by arrival."""

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

    def sorted(self) -> Held:
        """The same, sorted by step."""
        if self.k.size < 2 or (self.k[1:] >= self.k[:-1]).all():
            return self
        return self._part(np.argsort(self.k, kind="stable"))

    def only(self, rows: Bools) -> Held:
        """Those where ``rows`` is true."""
        return self if rows.all() else self._part(np.flatnonzero(rows))

    def _part(self, rows: slice | npt.NDArray[np.intp]) -> Held:
        return Held(*(getattr(self, f)[rows] for f in self.__slots__))


def joined(parts: Sequence[Held]) -> Held:
    """All of them, in their order."""
    if len(parts) == 1:
        return parts[0]
    return Held(*(np.concatenate([getattr(part, f) for part in parts]) for f in Held.__slots__))


@dataclass(slots=True)
class Lane:
    """``closed`` is the last step that is closed (None: none was), ``top`` the highest one with a reading.

    ``open`` says of each open step with a reading when its last one arrived, and whether all of them had waited before
    heed could read. ``waiting`` are readings that have no room yet, in pieces: each at least twice as long as the
    next, so that adding is cheap. ``apart``: after this step all of its streams take part (see Windows.put).
    """

    step: int
    origin: int
    slots: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    closed: int | None = None
    top: int = 0
    waiting: list[Held] = field(default_factory=list)
    open: dict[int, tuple[int, bool]] = field(default_factory=dict)
    apart: int = NEVER
    steady: int = NEVER  # until this step is closed no stream has to go

    def end_of(self, k: int) -> int:
        """End of step ``k``, ns."""
        return self.origin + (k + 1) * self.step

    def last_before(self, time: int) -> int:
        """The last step that ends at ``time`` (ns) or earlier."""
        return (time - self.origin) // self.step - 1

    @property
    def next(self) -> int | None:
        """The step to close next; None while there was no reading."""
        return self.first_waiting if self.closed is None else self.closed + 1

    @property
    def first_waiting(self) -> int | None:
        """The first step with a reading that has no room yet."""
        return min((int(piece.k[0]) for piece in self.waiting), default=None)

    @property
    def next_reading(self) -> int | None:
        """The first step with a reading that is not closed."""
        return min(self.open, default=self.first_waiting)

    def wait(self, new: Held) -> None:
        """Readings for steps that have no room yet."""
        self.waiting.append(new)
        while len(self.waiting) > 1 and self.waiting[-2].k.size < 2 * self.waiting[-1].k.size:
            self.waiting[-2:] = [joined(self.waiting[-2:]).sorted()]

    def ready(self, k: int) -> Held | None:
        """Take those that wait for steps up to ``k``; None where there are none."""
        cuts = [piece.cut(k) for piece in self.waiting]
        self.waiting = [rest for _, rest in cuts if rest.k.size]
        now = [part for part, _ in cuts if part.k.size]
        return joined(now) if now else None

    def take_out(self, slots: Ints) -> list[Held]:
        """Take what waits for some streams."""
        found = [(piece, np.isin(piece.slot, slots)) for piece in self.waiting]
        self.waiting = [piece.only(~mine) for piece, mine in found if not mine.all()]
        return [piece.only(mine) for piece, mine in found if mine.any()]

    def note(self, ready: Held) -> None:
        """Readings that get their room: when the last of each step arrived, and whether all had waited."""
        first = int(ready.k.min())
        row = ready.k - first
        arrived, fresh = np.zeros(int(row.max()) + 1, np.int64), np.zeros(int(row.max()) + 1, bool)
        np.maximum.at(arrived, row, ready.arrived)
        fresh[row[~ready.backlog]] = True
        for k in np.flatnonzero(arrived).tolist():
            self.meet(first + k, int(arrived[k]), not fresh[k])

    def meet(self, k: int, arrived: int, waited: bool) -> None:
        """Step ``k`` has readings, the last of which arrived then; whether all of these had waited."""
        before, had_waited = self.open.get(k, (0, True))
        self.open[k] = max(before, arrived), had_waited and waited

    def pass_step(self, k: int) -> tuple[int, bool]:
        """Close step ``k``: when its last reading arrived (0: it had none), whether all had waited."""
        self.closed = k
        return self.open.pop(k, (0, True))

    def go_back(self, k: int) -> None:
        """Close the steps after ``k`` again, for streams that are not as far."""
        assert self.closed is not None
        self.apart, self.closed = max(self.apart, self.closed), k

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint: what it is, its streams, its open steps and what waits."""
        head = [self.step, self.origin, self.closed is not None, self.closed or 0, self.top, self.apart]
        steps = [[k, arrived, waited] for k, (arrived, waited) in self.open.items()]
        own: dict[str, npt.NDArray[Any]] = {
            "head": np.array(head, np.int64),
            "slots": self.slots,
            "open": np.array(steps, np.int64).reshape(-1, 3),
        }
        if not self.waiting:
            return own
        waiting = joined(self.waiting).sorted()
        return own | {f"held.{f}": getattr(waiting, f) for f in Held.__slots__}


def lane_of(columns: Mapping[str, npt.NDArray[Any]]) -> Lane:
    """The lane that gave these ``columns``."""
    step, origin, begun, closed, top, apart = columns["head"].tolist()
    held = [Held(*(columns[f"held.{f}"] for f in Held.__slots__))] if "held.k" in columns else []
    steps = {k: (arrived, bool(waited)) for k, arrived, waited in columns["open"].tolist()}
    return Lane(step, origin, columns["slots"], closed if begun else None, top, held, steps, apart)
