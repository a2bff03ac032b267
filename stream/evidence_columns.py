"""The columns in which a sentinel keeps what it knows: they grow, start anew, and go into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibrate import NO_BASE
from models.contract import TOKEN_STEPS
from models.evidence import CHANNELS, NO_SCALE, PHASE, SCALE, TOKENS, UNSET, Profile
from models.seasonal import DAY, WEEK, At, Table

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
Ix = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

CHUNK = 8192  # streams at a time, and fewer than twice as many: each call costs some 100 µs beyond its streams
BLOCKS = ("exact", "reals", "counts", "base", "now", "past", "hist", "edges", "week_row")
_AXIS = {"exact": 1, "reals": 1, "counts": 1, "base": 1, "now": 1, "past": 2, "hist": 1, "edges": 1}  # the slots'


@dataclass(slots=True)
class Kept:
    """Columns of the m streams looked at: views where their slots are a range, else copies to be put back."""

    exact: F64  # [3, m]: models.evidence.FIRST ..
    reals: F32  # [R, m]: averages, short means, LOW ..
    counts: I32  # [9, m]: READINGS ..
    base: I32  # [channel, m]
    now: F32  # [token, m], surprise not yet divided by 8
    past: F32  # [K - 1, token, m]


class Columns:
    """Blocks of columns, the slot last (in ``hist`` and ``edges`` the bins follow). Capacity grows by doubling.

    Row 0 of hist, edges and base is the largest surprise itself, which `p` is read from; then come the channels.
    Those of the week are there once a stream needs them; ``now`` and ``past`` are empty without ``tokens``.
    """

    exact: F64
    reals: F32
    counts: I32
    base: I32
    now: F32
    past: F32
    hist: U16
    edges: U8
    week_row: I32  # row in the week table + 1; 0 = none

    def __init__(self, profile: Profile, tokens: bool = True) -> None:
        self.profile = profile
        self._tokens = len(profile.positions) + len(TOKENS) - len(CHANNELS) if tokens else 0
        self.size = self.capacity = 0
        self.rows = 1 + profile.channels(week=False)
        self.weeks = 0
        self.in_order = True  # the week table's rows are the slots
        self.day, self.week = Table.empty(DAY, 0), Table.empty(WEEK, 0)
        self._adopt(self._blocks(0))

    def _blocks(self, capacity: int) -> dict[str, npt.NDArray[Any]]:
        """Zeros: what is never touched takes no memory."""
        tokens, bins = self._tokens, self.profile.bins + 1
        return {
            "exact": np.zeros((3, capacity)),
            "reals": np.zeros((self.profile.reals, capacity), np.float32),
            "counts": np.zeros((9, capacity), np.int32),
            "base": np.zeros((self.rows, capacity), np.int32),
            "now": np.zeros((tokens, capacity), np.float32),
            "past": np.zeros((TOKEN_STEPS - 1, tokens, capacity), np.float32),
            "hist": np.zeros((self.rows, capacity, bins), np.uint16),
            "edges": np.zeros((self.rows, capacity, bins), np.uint8),
            "week_row": np.zeros(capacity, np.int32),
        }

    def _adopt(self, blocks: dict[str, npt.NDArray[Any]]) -> None:
        for name in BLOCKS:
            setattr(self, name, blocks[name])
        rows = np.arange(self.rows)[:, None] * self.capacity + np.arange(min(self.capacity, 2 * CHUNK))
        self._offsets = rows * (self.profile.bins + 1)

    # --- growth

    def grow(self, n: int) -> None:
        """Have columns for slots < n."""
        if n > self.capacity:
            self._resize(max(n, 2 * self.capacity))
        self.size = max(self.size, n)

    def _resize(self, capacity: int) -> None:
        old = {name: getattr(self, name) for name in BLOCKS}
        self.day = self.day.grown(capacity)
        self.capacity = capacity
        self._adopt(_overlaid(self._blocks(capacity), old))

    def _open_weeks(self) -> None:
        """Make room for the channels of the week."""
        rows = 1 + self.profile.channels(week=True)
        if self.rows < rows:
            self.rows = rows
            self._resize(self.capacity)

    # --- streams

    def reset(self, slots: I32 | Ix, phases: I32, week: Bools) -> None:
        """Begin anew with these streams; ``week`` [k]: which of them have a week table."""
        for block in (self.exact, self.reals, self.counts, self.now, self.hist, self.edges):
            block[:, slots] = 0
        self.past[:, :, slots] = 0
        self.base[:, slots] = NO_BASE
        self.exact[SCALE, slots] = NO_SCALE
        self.counts[PHASE, slots] = phases
        self.counts[UNSET, slots] = self.profile.channels(week=False)
        self.day.clear(slots)
        if week.any():
            self._give_weeks(slots[week])

    def _give_weeks(self, slots: I32 | Ix) -> None:
        """A row in the week table for each of these, empty; a slot keeps its row for good."""
        self._open_weeks()
        new = slots[self.week_row[slots] == 0]
        if self.weeks + len(new) > self.week.mean.shape[1]:
            self.week = self.week.grown(max(self.weeks + len(new), 2 * self.weeks))
        given = self.weeks + np.arange(len(new), dtype=np.int32)
        self.week_row[new] = given + 1
        self.in_order &= np.array_equal(given, new)
        self.weeks += len(new)
        self.week.clear(self.week_row[slots] - 1)
        self.counts[UNSET, slots] += self.profile.channels(week=True) - self.profile.channels(week=False)

    def need_weeks(self, slots: I32) -> None:
        """Steps of a minute or more: give a week table to those that started with shorter ones."""
        lacking = self.week_row.take(slots) == 0
        if lacking.any():
            self._give_weeks(slots[lacking])

    def take(self, at: At, channels: int) -> Kept:
        """The columns of some streams."""
        return Kept(
            _pick(self.exact, at),
            _pick(self.reals, at),
            _pick(self.counts, at),
            _pick(self.base[1 : 1 + channels], at),
            _pick(self.now, at),
            _pick(self.past, at),
        )

    def put(self, at: At, kept: Kept) -> None:
        """Write copies back; views are there already."""
        if isinstance(at, slice):
            return
        _scatter(self.exact, at, kept.exact)
        _scatter(self.reals, at, kept.reals)
        _scatter(self.counts, at, kept.counts)
        _scatter(self.base[1 : 1 + len(kept.base)], at, kept.base)
        _scatter(self.now, at, kept.now)
        _scatter(self.past, at, kept.past)

    def bins(self, at: At, rows: slice) -> tuple[U16, U8, Ix]:
        """Flat hist and edges, and in them the first bin of each row [row] and stream [m]."""
        wide = self.profile.bins + 1
        if isinstance(at, slice):
            first = at.start * wide
            offsets = self._offsets[rows, : at.stop - at.start]
            return self.hist.reshape(-1)[first:], self.edges.reshape(-1)[first:], offsets
        offsets = (np.arange(rows.start, rows.stop)[:, None] * self.capacity + at) * wide
        return self.hist.reshape(-1), self.edges.reshape(-1), offsets

    def weeks_of(self, at: At) -> At:
        """Rows of the week table of some streams."""
        return at if isinstance(at, slice) and self.in_order else self.week_row[at] - 1

    # --- seasonal tables of both seasons

    def _with_weeks(self, slots: Ix) -> tuple[Ix, Ix]:
        """Which of these streams have a week table, and its rows."""
        which = np.flatnonzero(self.week_row[slots])
        return which, (self.week_row[slots[which]] - 1).astype(np.intp)

    def rescale_tables(self, slots: Ix, octaves: I32) -> None:
        """The unit of these streams grew."""
        self.day.rescale(slots, octaves)
        which, rows = self._with_weeks(slots)
        self.week.rescale(rows, octaves[which])

    def shift_tables(self, slots: Ix, by: F32) -> None:
        """These streams have moved to a new level."""
        self.day.shift(slots, by)
        which, rows = self._with_weeks(slots)
        self.week.shift(rows, by[which])

    def visit_tables(self, periods: I32, slots: Ix, x: F32, week: bool) -> None:
        """Learn the means x [k] of 5 minutes each."""
        self.day.visit_each(DAY.bins_of(periods), slots, x)
        if week:
            self.week.visit_each(WEEK.bins_of(periods), self.week_row[slots] - 1, x)

    # --- checkpoints

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, the room for growth included."""
        tables = (self.day.mean, self.day.count, self.week.mean, self.week.count)
        return sum(block.nbytes for block in (*(getattr(self, name) for name in BLOCKS), *tables))

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all columns in use."""
        found = {name: _cut(getattr(self, name), name, self.size).copy() for name in BLOCKS}
        for name, table, n in (("day", self.day, self.size), ("week", self.week, self.weeks)):
            found[f"{name}_mean"] = table.mean[:, :n].copy()
            found[f"{name}_count"] = table.count[:, :n].copy()
        return found

    def take_out(self, slots: I32) -> dict[str, npt.NDArray[Any]]:
        """Copies of the columns of some streams, for ``put_in`` elsewhere."""
        found = {name: getattr(self, name).take(slots, axis=_AXIS[name]) for name in _AXIS}
        found |= {"day_mean": self.day.mean[:, slots], "day_count": self.day.count[:, slots]}
        which, rows = self._with_weeks(slots.astype(np.intp))
        return found | {"week": which, "week_mean": self.week.mean[:, rows], "week_count": self.week.count[:, rows]}

    def put_in(self, slots: I32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``take_out``; raises ValueError where the columns are those of another profile."""
        which, known = columns["week"], {1 + self.profile.channels(week) for week in (False, True)}
        if len(columns["base"]) not in known or len(columns["reals"]) != len(self.reals):
            raise ValueError("the state holds evidence of another kind (`evidence: full` or `lean`)")
        week = np.zeros(len(slots), bool)
        week[which] = True
        self.reset(slots, np.zeros(len(slots), np.int32), week)
        for name, axis in _AXIS.items():
            own, new = getattr(self, name), columns[name]
            if own.shape[-2] == new.shape[-2] or name not in ("now", "past"):  # else tokens begin anew
                own[(slice(0, len(new)), *[slice(None)] * (axis - 1), slots)] = new
        self.day.mean[:, slots], self.day.count[:, slots] = columns["day_mean"], columns["day_count"]
        rows = self.week_row[slots[which]] - 1
        self.week.mean[:, rows], self.week.count[:, rows] = columns["week_mean"], columns["week_count"]

    def load(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what ``save`` gave; raises ValueError where it came from another profile."""
        missing = {*BLOCKS, "day_mean", "day_count", "week_mean", "week_count"} - columns.keys()
        if missing or columns["base"].shape[0] not in {1 + self.profile.channels(week) for week in (False, True)}:
            raise ValueError(f"a checkpoint of another kind: {sorted(missing) or 'other channels'}")
        n = columns["week_row"].shape[0]
        self.rows, self.size, self.capacity = columns["base"].shape[0], n, n
        blocks = self._blocks(n)
        for name, block in blocks.items():
            if name in ("now", "past") and 0 in (block.shape[-2], columns[name].shape[-2]):
                continue  # written without a model, or read without one: tokens begin anew
            if columns[name].shape != block.shape or columns[name].dtype != block.dtype:
                raise ValueError(f"column {name!r} of the checkpoint is {columns[name].shape}, not {block.shape}")
            block[...] = columns[name]
        self._adopt(blocks)
        self.day = Table(DAY, columns["day_mean"].copy(), columns["day_count"].copy())
        self.week = Table(WEEK, columns["week_mean"].copy(), columns["week_count"].copy())
        self.weeks = self.week.mean.shape[1]
        given = np.flatnonzero(self.week_row)
        self.in_order = np.array_equal(self.week_row[given] - 1, given)


def _pick(block: npt.NDArray[Any], at: At) -> npt.NDArray[Any]:
    """block[..., at], four times as fast where it has to be copied."""
    return block[..., at] if isinstance(at, slice) else block.take(at, axis=-1)


def _scatter(block: npt.NDArray[Any], at: I32 | Ix, values: npt.NDArray[Any]) -> None:
    """block[..., at] = values by a flat index, which is fifteen times as fast."""
    rows = block.size // block.shape[-1]
    index = (np.arange(rows) * block.shape[-1])[:, None] + at
    block.reshape(-1)[index] = values.reshape(rows, values.shape[-1])


def _cut(block: npt.NDArray[Any], name: str, n: int) -> npt.NDArray[Any]:
    if name == "week_row":
        return block[:n]
    return block[:, :, :n] if name == "past" else block[:, :n]


def _overlaid(blocks: dict[str, npt.NDArray[Any]], old: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """``blocks`` with ``old`` copied into their beginning; channels that were not there never moved."""
    blocks["base"][...] = NO_BASE
    for name, block in blocks.items():
        block[tuple(slice(0, n) for n in old[name].shape)] = old[name]
    return blocks
