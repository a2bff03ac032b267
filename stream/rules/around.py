"""What rules know beside a row: the recent steps of its stream, as far as any rule asks, and its group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.absence import Absence
from stream.rules.columns import Rows, Slots
from stream.rules.grouped import Members, Together, spread
from stream.rules.over import OVER, Floats, Window, rings
from stream.rules.recall import Taken
from stream.rules.remembered import Run
from stream.rules.ring import Ring
from stream.rules.truth import Truth

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ask:
    """A window that an expression asks for: how its argument is computed, and for which streams."""

    window: Window
    argument: Run
    about: bool  # the argument is in the stream's own units
    guard: Run | None = None  # a condition on names alone without which the expression is never true
    said: frozenset[str] = frozenset()  # names in the argument that are not of readings (recall.SAID)


class _Kept:
    """One argument over time, on one raster. Only streams that some rule asks for have a row."""

    def __init__(self, kept: Ring | Absence, argument: Run, guards: Sequence[Run | None]) -> None:
        self.kept, self.argument, self._guards = kept, argument, guards
        self.row = np.full(0, -1, np.int32)  # by slot
        self._free: list[int] = []
        self._used = 0
        self.mine: npt.NDArray[np.bool_] = np.zeros(0, bool)  # which of the rows at hand have one
        self.rows: Indices | slice = slice(0, 0)  # and where

    def turn(self, rows: Rows) -> None:
        """Other streams are at hand than before."""
        self._widen(int(rows.slots.max()) + 1)
        self.mine = self._asked(rows)
        self._give(rows.slots[self.mine])
        found = self.row[rows.slots[self.mine]].astype(np.intp)
        straight = len(found) > 0 and np.array_equal(found, np.arange(found[0], found[0] + len(found)))
        self.rows = slice(int(found[0]), int(found[0]) + len(found)) if straight else found

    def _widen(self, top: int) -> None:
        if top > len(self.row):
            more = max(top, 2 * len(self.row)) - len(self.row)
            self.row = np.concatenate([self.row, np.full(more, -1, np.int32)])

    def _asked(self, rows: Rows) -> npt.NDArray[np.bool_]:
        asked = np.zeros(len(rows.slots), bool)
        for guard in self._guards:
            asked |= True if guard is None else ~guard(rows).over(len(rows.slots)).false
        return asked

    def _give(self, slots: Slots) -> None:
        new = slots[self.row[slots] < 0]
        again = [self._free.pop() for _ in range(min(len(new), len(self._free)))]
        self.row[new] = [*again, *range(self._used, self._used + len(new) - len(again))]
        self._used += len(new) - len(again)
        if self._used > self.kept.size:
            self.kept.grow(self._used)

    def release(self, slots: Indices) -> None:
        """These slots may be given to other streams."""
        known = slots[slots < len(self.row)]
        rows = self.row[known][self.row[known] >= 0].astype(np.intp)
        if len(rows):
            self.kept.clear(rows)
            self.row[known] = -1
            self._free += rows.tolist()

    def holds(self, slots: Indices | None) -> bool:
        rows = self.row if slots is None else self.row[slots[slots < len(self.row)]]
        return bool((rows >= 0).any())

    def join(self, other: _Kept) -> None:
        """Take over what the other one keeps; none of its streams has a row here."""
        slots = np.flatnonzero(other.row >= 0)
        if len(slots):
            self._widen(int(slots[-1]) + 1)
            self._give(slots.astype(np.int32))
            self.kept.join(other.kept, self.row[slots].astype(np.intp), other.row[slots].astype(np.intp))

    def of(self, slots: Indices) -> dict[str, Array]:
        """``columns`` of some streams, in the order of ``slots``."""
        self._widen(int(slots.max(initial=-1)) + 1)
        rows, row = self.row[slots], np.full(len(slots), -1, np.int32)
        row[rows >= 0] = np.arange(np.count_nonzero(rows >= 0))
        kept = self.kept.of(rows[rows >= 0].astype(np.intp))
        return {"row": row, **{f"kept.{name}": column for name, column in kept.items()}}

    def columns(self) -> dict[str, Array]:
        return {"row": self.row, **{f"kept.{name}": column for name, column in self.kept.columns().items()}}

    def restore(self, columns: Mapping[str, Array]) -> None:
        kept = {name.removeprefix("kept."): column for name, column in columns.items() if name.startswith("kept.")}
        if kept and self.kept.restore(kept):
            self.row = columns["row"].copy()
            taken = set(self.row[self.row >= 0].tolist())
            self._used = max(taken, default=-1) + 1
            self._free = sorted(set(range(self._used)) - taken, reverse=True)


class _Lane:
    """What is kept of streams of one raster that have come to the same step: of all of them, nearly always."""

    def __init__(self, asks: Sequence[Ask], step: int, k: int) -> None:
        self.k = k  # the newest step
        self._slots: Slots | None = None  # of the last step
        self.kept: dict[tuple[str, int], _Kept] = {}
        for key, (cells, stats) in rings([ask.window for ask in asks], step).items():
            own = [ask for ask in asks if (ask.window.argument, ask.window.width(step)) == key]
            ring = Ring(cells, key[1], stats, own[0].about) if key[1] else Absence()
            self.kept[key] = _Kept(ring, own[0].argument, list(dict.fromkeys(ask.guard for ask in own)))

    def begin(self, rows: Rows) -> bool:
        """A step begins; whether its streams are others than before."""
        others = self._slots is None or not np.array_equal(self._slots, rows.slots)
        self.k = rows.ts // rows.step
        for each in self.kept.values():
            if others:
                each.turn(rows)
            each.kept.advance(self.k)
        self._slots = rows.slots.copy()
        return others

    def join(self, other: _Lane) -> None:
        """Streams that had come to another step."""
        self._slots = None
        for key, kept in self.kept.items():
            kept.join(other.kept[key])

    def columns(self, slots: Indices | None = None) -> dict[str, Array]:
        """All that is kept, or that of some slots, in their order."""
        columns: dict[str, Array] = {"k": np.array([self.k])}
        for place, kept in enumerate(self.kept.values()):
            own = kept.columns() if slots is None else kept.of(slots)
            columns |= {f"{place}.{name}": column for name, column in own.items()}
        return columns

    def holds(self, slots: Indices | None = None) -> bool:
        """Whether anything is kept of these slots, or of any."""
        return any(each.holds(slots) for each in self.kept.values())

    def release(self, slots: Indices) -> None:
        self._slots = None
        for each in self.kept.values():
            each.release(slots)


@dataclass(slots=True)
class _Stretch:
    """A window of those of the rows at hand for which it is kept (over.Stretch)."""

    window: Window
    kept: _Kept
    now: Floats
    k: int
    step: int

    @property
    def _ring(self) -> Ring:
        assert isinstance(self.kept.kept, Ring)
        return self.kept.kept

    @property
    def seconds(self) -> float:
        return self.step / 1e9

    @property
    def near(self) -> Floats:
        return self._ring.near(self.kept.rows)

    def older(self, name: str) -> Floats:
        found: Floats = self._ring.fold(name, self.k, self.window.cells(self.step))[self.kept.rows]
        return found

    def then(self) -> Floats:
        found: Floats = self._ring.cell(self.k - self.window.steps(self.step))[self.kept.rows]
        return found + self.near

    def lasted(self) -> Truth:
        assert isinstance(self.kept.kept, Absence)
        return self.kept.kept.lasted(self.kept.rows, self.now, self.window.steps(self.step))


class Around:
    """The past of streams, shared by all rules that ask for the same, and who belongs together.

    For each step: ``begin``, then any number of expressions, then ``finish``. Rasters are told apart by the length of
    their step and by where it begins, so the steps of one come in order and hold all of its streams. Only streams that
    come from another process may be at another step for a while: they are kept apart until the others meet them.
    """

    def __init__(self, asks: Iterable[Ask]) -> None:
        self._asks = list(asks)
        self._said = {ask.window.argument: ask.said for ask in self._asks if ask.said}
        self._lanes: dict[tuple[int, int], list[_Lane]] = {}  # by length of the step and its remainder of time, ns
        self._lane: _Lane | None = None  # of the step at hand
        self._home: list[tuple[int, int]] = []
        self._lane_of = np.full(0, -1, np.int32)  # by slot, into _home
        self._together = Together()

    @property
    def looks_back(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._asks)

    def begin(self, rows: Rows) -> None:
        """A step of one raster begins; ``rows`` are all of its streams, at least one."""
        if not self._asks:
            return
        key = rows.step, rows.ts % rows.step
        self._lane = self._met(key, rows.ts // rows.step)
        if self._lane.begin(rows):
            self._settle(rows.slots, self._home.index(key))

    def _met(self, key: tuple[int, int], k: int) -> _Lane:
        """Where the streams are that have come to step ``k`` of a raster; those that are further stay apart."""
        lanes = self._lanes.get(key, [])
        if len(lanes) == 1 and lanes[0].k <= k:
            return lanes[0]
        here = sorted((lane for lane in lanes if lane.k <= k), key=lambda lane: lane.k)
        if not here:
            return self._open(key, k)
        for other in here[:-1]:
            here[-1].join(other)
        self._lanes[key] = [here[-1], *(lane for lane in lanes if lane.k > k)]
        return here[-1]

    def _open(self, key: tuple[int, int], k: int) -> _Lane:
        lane = _Lane(self._asks, key[0], k)
        self._lanes.setdefault(key, []).append(lane)
        if key not in self._home:
            self._home.append(key)
        return lane

    def _settle(self, slots: Slots, lane: int) -> None:
        """Streams that were on another raster before have no past there any more."""
        top = int(slots.max()) + 1
        if top > len(self._lane_of):
            more = max(top, 2 * len(self._lane_of)) - len(self._lane_of)
            self._lane_of = np.concatenate([self._lane_of, np.full(more, -1, np.int32)])
        before = self._lane_of[slots]
        for other in np.unique(before[(before >= 0) & (before != lane)]).tolist():
            for old in self._lanes[self._home[other]]:
                old.release(slots[before == other].astype(np.intp))
        self._lane_of[slots] = lane

    def finish(self, rows: Rows) -> None:
        """The step becomes the past."""
        if not self._asks:
            return
        assert self._lane is not None
        for (argument, _), each in self._lane.kept.items():
            now = self._now(argument, each, rows)
            each.kept.write(rows.ts // rows.step, each.rows, now[each.mine])

    def taken(self, rows: Rows, lost: frozenset[str]) -> dict[str, tuple[npt.NDArray[np.bool_], Floats]]:
        """What the step at hand brought to windows that ask for any of ``lost``: by argument, of which rows, and it."""
        found: dict[str, tuple[npt.NDArray[np.bool_], Floats]] = {}
        asked = {argument for argument, said in self._said.items() if said & lost}
        for (argument, _), each in self._lane.kept.items() if asked and self._lane is not None else ():
            if argument in asked:
                mine = found[argument][0] | each.mine if argument in found else each.mine
                found[argument] = mine, self._now(argument, each, rows)
        return found

    def recall(self, rows: Rows, taken: Taken) -> None:
        """The step at hand is read again, and this is what it brought then, to be taken for what can't be known now."""
        assert self._lane is not None
        for (argument, _), each in self._lane.kept.items():
            mine, column = taken.get(argument, (None, None))
            if mine is not None and column is not None:
                now = column if mine.all() else np.where(mine, column, self._now(argument, each, rows))
                rows.found["argument", argument] = now

    def _now(self, argument: str, kept: _Kept, rows: Rows) -> Floats:
        found: Floats = rows.once(("argument", argument), lambda rows: spread(kept.argument(rows), len(rows.slots)))
        return found

    def window(self, window: Window, rows: Rows) -> Any:
        """What a function over time comes to, for each row; absent where its past is not kept."""
        return rows.once(window, lambda rows: self._looked(window, rows))

    def _looked(self, window: Window, rows: Rows) -> Any:
        assert self._lane is not None
        kept = self._lane.kept[window.argument, window.width(rows.step)]
        now = self._now(window.argument, kept, rows)[kept.mine]
        found = OVER[window.function].run(_Stretch(window, kept, now, rows.ts // rows.step, rows.step))
        if kept.mine.all():
            return found
        if isinstance(found, Truth):
            return Truth(_placed(found.true, kept.mine, False), _placed(found.false, kept.mine, False))
        return _placed(found, kept.mine, np.nan)

    def members(self, rows: Rows) -> Members:
        """Which rows belong to one group."""
        found: Members = rows.once("members", self._together.members)
        return found

    def forget(self, slots: Sequence[int] | Slots) -> None:
        """These slots may be given to other streams."""
        gone = np.asarray(slots, np.intp)
        for lanes in self._lanes.values():
            for lane in lanes:
                lane.release(gone)
        self._lane_of[gone[gone < len(self._lane_of)]] = -1
        self._together.forget(slots)

    def columns(self) -> dict[str, Array]:
        """For a checkpoint: all that is kept, with what it is of."""
        return {"lane_of": self._lane_of, **self._kept_of(None)}

    def take_out(self, slots: Slots) -> dict[str, Array]:
        """The same of some streams, by their place in ``slots`` [m], for ``put_in`` elsewhere."""
        top = int(slots.max(initial=-1)) + 1
        lane_of = np.concatenate([self._lane_of, np.full(max(0, top - len(self._lane_of)), -1, np.int32)])
        rasters = list(dict.fromkeys(raster for raster, _ in self._holding(slots.astype(np.intp))))
        places = [rasters.index(raster) if raster in rasters else -1 for raster in self._home]
        return {"lane_of": np.array([*places, -1], np.int32)[lane_of[slots]], **self._kept_of(slots.astype(np.intp))}

    def _holding(self, slots: Indices | None) -> list[tuple[tuple[int, int], _Lane]]:
        """All lanes, or those alone that keep something of these slots: others would grow in number with each move."""
        lanes = [(raster, lane) for raster in self._home for lane in self._lanes[raster]]
        return [each for each in lanes if slots is None or each[1].holds(slots)]

    def _kept_of(self, slots: Indices | None) -> dict[str, Array]:
        columns: dict[str, Array] = {}
        index = []
        for number, (key, lane) in enumerate(self._holding(slots)):
            index.append([list(key), [list(argument) for argument in lane.kept]])
            columns |= {f"{number}.{name}": column for name, column in lane.columns(slots).items()}
        return columns | {"index": np.frombuffer(json.dumps(index).encode(), np.uint8)}

    def restore(self, columns: Mapping[str, Array]) -> None:
        """The inverse of ``columns``. What no rule asks for any more, or with another span, is left out."""
        if "index" in columns and self._asks:
            self.put_in(np.arange(len(columns["lane_of"]), dtype=np.int32), columns)

    def put_in(self, slots: Slots, columns: Mapping[str, Array]) -> None:
        """The inverse of ``take_out``: these streams have a past that may end at another step than that of others."""
        if not self._asks or len(slots) == 0 or "index" not in columns:
            return
        index = json.loads(columns["index"].tobytes())
        for key in {(key[0], key[1]) for key, _ in index} & self._lanes.keys():
            self._lanes[key] = [lane for lane in self._lanes[key] if lane.holds()]
        for number, (key, arguments) in enumerate(index):
            lane = self._open((key[0], key[1]), int(columns[f"{number}.k"][0]))
            for place, (argument, width) in enumerate(arguments):
                prefix = f"{number}.{place}."
                if (argument, width) in lane.kept:
                    own = {name.removeprefix(prefix): c for name, c in columns.items() if name.startswith(prefix)}
                    lane.kept[argument, width].restore({**own, "row": _by_slot(slots, own["row"])})
        top = int(slots.max()) + 1
        self._lane_of = np.concatenate([self._lane_of, np.full(max(0, top - len(self._lane_of)), -1, np.int32)])
        rasters = list(dict.fromkeys((key[0], key[1]) for key, _ in index))
        home = np.array([self._home.index(raster) for raster in rasters] + [-1], np.int32)
        self._lane_of[slots] = home[columns["lane_of"]]


def _by_slot(slots: Slots, row: Array) -> Array:
    found = np.full(int(slots.max(initial=-1)) + 1, -1, np.int32)
    found[slots] = row[: len(slots)]
    return found


def _placed(found: Any, mine: npt.NDArray[np.bool_], empty: Any) -> Any:
    column = np.full(len(mine), empty)
    column[mine] = found
    return column
