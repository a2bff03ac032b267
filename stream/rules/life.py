"""The life of one rule's alerts in columns: inactive, pending, firing, resolved, with time as an argument.

Only streams that are not at rest have a row (pending, firing, cooling down, counting, or changed not long ago), so that
a quiet rule costs nothing and many rules over many streams little. Semantics are Prometheus', with event time for the
time of evaluation. Flapping is told by how often an alert changed within a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.columns import Bools, Slots
from stream.rules.terms import EVERY, Count
from stream.rules.truth import Truth

INACTIVE, PENDING, FIRING = 0, 1, 2
STATES = ("inactive", "pending", "firing")
NEVER = -(2**63)
ACTIVE_AT, STARTS_AT, OFF_SINCE, COOL_UNTIL = range(4)  # rows of Life.times
TIMES = ("active_at", "starts_at", "off_since", "cool_until")
FLAPPING, CALM, LEFT_OUT = range(3)  # rows of Life.marks
MARKS = ("flapping", "calm", "left_out")

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Signs:
    """What the open rows were told at this step, and whether they were looked at. Masks [k]."""

    seen: Bools
    on: Bools  # the condition is true
    off: Bools  # it is false
    over: Bools  # what ends a firing alert: the condition is false, or clear_expr is true
    back: Bools  # what undoes that


@dataclass(frozen=True, slots=True)
class Spans:
    """Lengths in ns, for the step at hand. ``flapping``: within which an alert changed too often."""

    hold: int
    keep_firing_for: int
    cool_down: int
    flapping: int = 0


class Life:
    """Open rows of one rule: slot i32 [k], state u8 [k], times i64 [4, k] (ns, NEVER = not yet).

    ``recent`` u64 [k]: a bit for each of the last steps, 1 = the condition was true; ``changes`` i64 [c, k]: the last c
    times at which an alert fired or was over, the newest first; ``marks`` bool [3, k]: it fired while flapping; it is
    over and held for that; it could fire but for the limit of its rule.
    """

    def __init__(self, changes: int = 0) -> None:
        self.slot = np.empty(0, np.int32)
        self.state = np.empty(0, np.uint8)
        self.times = np.empty((4, 0), np.int64)
        self.recent = np.empty(0, np.uint64)
        self.changes = np.empty((changes, 0), np.int64)
        self.marks = np.empty((len(MARKS), 0), bool)

    def __len__(self) -> int:
        return len(self.slot)

    def open(self, slots: Slots) -> None:
        """Add rows at rest for streams that have none."""
        n = len(slots)
        self.slot = np.concatenate([self.slot, slots.astype(np.int32)])
        self.state = np.concatenate([self.state, np.full(n, INACTIVE, np.uint8)])
        self.recent = np.concatenate([self.recent, np.zeros(n, np.uint64)])
        self.times = np.concatenate([self.times, np.full((4, n), NEVER)], axis=1)
        self.changes = np.concatenate([self.changes, np.full((len(self.changes), n), NEVER)], axis=1)
        self.marks = np.concatenate([self.marks, np.zeros((len(MARKS), n), bool)], axis=1)

    def drop(self, rows: Bools) -> None:
        """Remove rows."""
        if rows.any():
            keep = ~rows
            self.slot, self.state, self.recent = self.slot[keep], self.state[keep], self.recent[keep]
            self.times, self.changes, self.marks = self.times[:, keep], self.changes[:, keep], self.marks[:, keep]

    def rest(self, seen: Bools, ts: int, flapping: int = 0) -> None:
        """Remove the rows of streams that are at rest."""
        gone = (self.state == INACTIVE) & seen & (self.times[COOL_UNTIL] <= ts) & (self.recent == 0)
        if len(self.changes):
            gone &= self.changes[0] <= ts - flapping
        self.drop(gone)

    def signs(self, at: Indices, truth: Truth, clear: Truth | None, count: Count = EVERY) -> Signs:
        """What masks over the observed streams say of the rows; ``at`` is a row's place there, -1 = not observed."""
        seen = at >= 0
        on, off = truth.true[at] & seen, truth.false[at] & seen
        if count.of > 1:
            on, off = self._counted(seen, on, off, count)
        if clear is None:
            return Signs(seen, on, off, off, on)
        return Signs(seen, on, off, clear.true[at] & seen & ~on, on | (clear.false[at] & seen))

    def _counted(self, seen: Bools, on: Bools, off: Bools, count: Count) -> tuple[Bools, Bools]:
        """Whether the condition was true often enough of late; a step at which it is unknown changes nothing yet."""
        shifted = (self.recent << np.uint64(1) | on) & np.uint64((1 << count.of) - 1)
        self.recent = np.where(seen, shifted, self.recent)
        enough = np.bitwise_count(self.recent) >= count.least
        return (on | off) & enough, (on | off) & ~enough

    def advance(self, ts: int, signs: Signs, spans: Spans) -> tuple[Indices, Indices]:
        """One step on; returns the rows that may fire now, which ``fire`` makes so, and those that are resolved."""
        firing = self.state == FIRING
        ripe = self._ripen(ts, signs, spans.hold)
        ended = self._end(ts, signs, spans, firing) if firing.any() else np.empty(0, np.intp)
        return ripe, ended

    def _ripen(self, ts: int, signs: Signs, hold: int) -> Indices:
        """From inactive to pending, and back to inactive."""
        active_at, _, _, cool_until = self.times
        fresh = signs.on & (self.state == INACTIVE)
        self.state[fresh] = PENDING
        active_at[fresh] = ts
        pending = self.state == PENDING
        self.state[pending & signs.off] = INACTIVE
        ripe = pending & signs.on & (ts - active_at >= hold) & (ts >= cool_until)
        self.marks[LEFT_OUT] &= ripe | ~signs.seen
        return np.flatnonzero(ripe)

    def fire(self, rows: Indices, ts: int, spans: Spans) -> None:
        """From pending to firing."""
        self.state[rows] = FIRING
        self.times[STARTS_AT, rows], self.times[OFF_SINCE, rows] = ts, NEVER
        if spans.cool_down:
            self.times[COOL_UNTIL, rows] = ts + spans.cool_down
        self.marks[:, rows] = False
        self._note_change(rows, ts)
        self.marks[FLAPPING, rows] = self._flaps(ts, spans)[rows]

    def leave_out(self, rows: Indices) -> None:
        """These stay pending: more than the rule may raise fire already."""
        self.marks[LEFT_OUT, rows] = True

    def _note_change(self, rows: Indices, ts: int) -> None:
        if len(self.changes) and len(rows):
            self.changes[:, rows] = np.concatenate([np.full((1, len(rows)), ts), self.changes[:-1, rows]])

    def _flaps(self, ts: int, spans: Spans) -> Bools:
        if not len(self.changes):
            return np.zeros(len(self), bool)
        flaps: Bools = self.changes[-1] > ts - spans.flapping
        return flaps

    def _end(self, ts: int, signs: Signs, spans: Spans, firing: Bools) -> Indices:
        """From firing to inactive, once what ends the alert has held long enough and it does not flap."""
        off_since, (flapping, calm, _) = self.times[OFF_SINCE], self.marks
        back = firing & signs.back
        off_since[back] = NEVER
        self._note_change(np.flatnonzero(back & calm), ts)
        calm &= ~back
        over = firing & signs.over
        off_since[over & (off_since == NEVER)] = ts
        ripe = over & (ts - off_since >= spans.keep_firing_for)
        self._note_change(np.flatnonzero(ripe & ~calm), ts)
        calm |= ripe
        ended = np.flatnonzero(ripe & ~(flapping & self._flaps(ts, spans)))
        self.state[ended] = INACTIVE
        return ended

    def close(self, seen: Bools) -> Indices:
        """The rule does not hold now: rows that were seen go back to inactive; returns those that fired."""
        fired = np.flatnonzero(seen & (self.state == FIRING))
        self.state[seen], self.recent[seen] = INACTIVE, 0
        self.marks[:, seen] = False
        return fired

    def marked(self) -> tuple[bytes, ...]:
        """Something that differs where any row does."""
        columns = self.slot, self.state, self.times, self.recent, self.changes, self.marks
        return tuple(column.tobytes() for column in columns)

    def rows(self) -> list[dict[str, Any]]:
        """Every row as plain values; ``put`` takes one up again."""
        columns = [[None if time == NEVER else time for time in column] for column in self.times.tolist()]
        found: list[dict[str, Any]] = [
            {"state": STATES[state], **dict(zip(TIMES, times, strict=True))}
            for state, times in zip(self.state.tolist(), zip(*columns, strict=True), strict=True)
        ]
        for i in np.flatnonzero(self.recent).tolist():
            found[i]["recent"] = int(self.recent[i])
        for i in np.flatnonzero((self.changes != NEVER).any(axis=0)).tolist():
            found[i]["changes"] = [time for time in self.changes[:, i].tolist() if time != NEVER]
        for mark, i in zip(*(each.tolist() for each in np.nonzero(self.marks)), strict=True):
            found[i][MARKS[mark]] = True
        return found

    def put(self, slot: int, row: Mapping[str, Any]) -> None:
        """Open a row as ``row`` told of it."""
        self.open(np.array([slot], np.int32))
        self.state[-1] = STATES.index(row["state"])
        self.times[:, -1] = [NEVER if row[name] is None else int(row[name]) for name in TIMES]
        self.recent[-1] = row.get("recent", 0)
        changes = row.get("changes", [])[: len(self.changes)]
        self.changes[: len(changes), -1] = changes
        self.marks[:, -1] = [bool(row.get(name)) for name in MARKS]
