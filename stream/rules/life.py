"""The life of one rule's alerts in columns: inactive, pending, firing, resolved, with time as an argument.

Only streams that are not at rest have a row (pending, firing, or cooling down), so that a quiet rule costs nothing
and many rules over many streams little. Semantics are Prometheus', with event time for the time of evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.columns import Bools, Slots
from stream.rules.truth import Truth

INACTIVE, PENDING, FIRING = 0, 1, 2
STATES = ("inactive", "pending", "firing")
NEVER = -(2**63)
ACTIVE_AT, STARTS_AT, OFF_SINCE, COOL_UNTIL = range(4)  # rows of Life.times

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
    """Lengths in ns, for the step at hand."""

    hold: int
    keep_firing_for: int
    cool_down: int


class Life:
    """Open rows of one rule: slot i32 [k], state u8 [k], times i64 [4, k] (ns, NEVER = not yet)."""

    def __init__(self) -> None:
        self.slot = np.empty(0, np.int32)
        self.state = np.empty(0, np.uint8)
        self.times = np.empty((4, 0), np.int64)

    def __len__(self) -> int:
        return len(self.slot)

    def open(self, slots: Slots, state: int = INACTIVE, times: tuple[int, int, int, int] = (NEVER,) * 4) -> None:
        """Add rows for streams that have none."""
        n = len(slots)
        self.slot = np.concatenate([self.slot, slots.astype(np.int32)])
        self.state = np.concatenate([self.state, np.full(n, state, np.uint8)])
        self.times = np.concatenate([self.times, np.repeat(np.array(times, np.int64)[:, None], n, axis=1)], axis=1)

    def drop(self, rows: Bools) -> None:
        """Remove rows."""
        if rows.any():
            keep = ~rows
            self.slot, self.state, self.times = self.slot[keep], self.state[keep], self.times[:, keep]

    def rest(self, seen: Bools, ts: int) -> None:
        """Remove the rows of streams that are at rest: neither pending nor firing nor cooling down."""
        self.drop((self.state == INACTIVE) & seen & (self.times[COOL_UNTIL] <= ts))

    def signs(self, at: Indices, truth: Truth, clear: Truth | None) -> Signs:
        """What masks over the observed streams say of the rows; ``at`` is a row's place there, -1 = not observed."""
        seen = at >= 0
        on, off = truth.true[at] & seen, truth.false[at] & seen
        if clear is None:
            return Signs(seen, on, off, off, on)
        return Signs(seen, on, off, clear.true[at] & seen & ~on, on | (clear.false[at] & seen))

    def advance(self, ts: int, signs: Signs, spans: Spans) -> tuple[Indices, Indices]:
        """One step on; returns the rows that began to fire and the rows that are resolved."""
        firing = self.state == FIRING
        began = self._begin(ts, signs, spans)
        ended = self._end(ts, signs, spans.keep_firing_for, firing) if firing.any() else np.empty(0, np.intp)
        return began, ended

    def _begin(self, ts: int, signs: Signs, spans: Spans) -> Indices:
        """From inactive to pending to firing, or back to inactive."""
        active_at, starts_at, off_since, cool_until = self.times
        fresh = signs.on & (self.state == INACTIVE)
        self.state[fresh] = PENDING
        active_at[fresh] = ts
        pending = self.state == PENDING
        self.state[pending & signs.off] = INACTIVE
        ripe = pending & signs.on & (ts - active_at >= spans.hold) & (ts >= cool_until)
        began = np.flatnonzero(ripe)
        self.state[began] = FIRING
        starts_at[began], off_since[began] = ts, NEVER
        if spans.cool_down:
            cool_until[began] = ts + spans.cool_down
        return began

    def _end(self, ts: int, signs: Signs, keep_firing_for: int, firing: Bools) -> Indices:
        """From firing to inactive, once what ends the alert has held long enough."""
        off_since = self.times[OFF_SINCE]
        off_since[firing & signs.back] = NEVER
        over = firing & signs.over
        off_since[over & (off_since == NEVER)] = ts
        ended = np.flatnonzero(over & (ts - off_since >= keep_firing_for))
        self.state[ended] = INACTIVE
        return ended

    def row(self, i: int) -> dict[str, Any]:
        """One row as plain values."""
        times = [None if time == NEVER else int(time) for time in self.times[:, i]]
        return {
            "state": STATES[self.state[i]],
            "active_at": times[ACTIVE_AT],
            "starts_at": times[STARTS_AT],
            "off_since": times[OFF_SINCE],
            "cool_until": times[COOL_UNTIL],
        }
