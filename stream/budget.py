"""The latency budget: what a full look costs, how many fit, when to stop, how much time to keep in hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

MOST_ROWS = 128  # of a chunk, unless calls are so dear that it takes more to be worth one
BEST_ROWS = 1024  # of a chunk where no deadline asks for smaller ones: larger ones fall out of the cache
_WORTH = 3.0  # a full chunk's rows cost at least this many calls
_RATE = 0.1  # of the averages of measured cost
_SLACK_LEAST, _SLACK_MOST = 0.03, 0.25  # shares of the latency budget
_ROUND = 1e-9  # of a row: costs add up in floating point
_FREE = 1 << 62  # rows that cost nothing


class Budget:
    """Decides how many rows to look at before a deadline. It reads no clock: times are given to it.

    ``latency_ns`` is the lag allowed; a frame's deadline is its anchor (when it was due, or its last reading
    arrived) + ``latency_ns``. ``cost`` = (seconds a call, seconds a row), first from the model's card, then measured;
    with ``exact`` (a price) it is known and never learnt. ``slack`` is the share of the budget kept in hand.
    """

    def __init__(self, latency_ns: int, cost: tuple[float, float], slack: float = 0.05, exact: bool = False) -> None:
        if latency_ns <= 0:
            raise ValueError(f"the latency budget must be positive, not {latency_ns} ns")
        if not all(math.isfinite(c) and c >= 0 for c in cost):
            raise ValueError(f"costs are seconds, not negative: {cost}")
        self.latency_ns, self.exact, self.card = latency_ns, exact, cost
        self.fixed, self.each = cost
        self.deviation = 0.0  # mean absolute deviation of the cost of a row, seconds
        self.slack = slack
        self.load = Load()
        self._samples = 0  # measured chunks
        self._idle = True  # nothing was spent since the last frame

    @property
    def rows(self) -> int:
        """The largest chunk: worth its call, and small enough that a usual surprise stays within the slack."""
        if self.each <= 0:
            return _FREE if self.exact else MOST_ROWS
        worth = math.ceil(min(_WORTH * self.fixed / self.each, 1e9) - _ROUND)
        safe = MOST_ROWS
        if self.deviation > 0:
            safe = int(min(safe, self.slack * self.latency_ns / 1e9 / (2 * self.deviation)))
        return max(worth, safe, 1)

    def afford(self, deadline_ns: int, now_ns: int, demand: int) -> int:
        """How many of ``demand`` windows fit into what is left, in chunks, at their mean cost."""
        capacity = self.capacity(self._left(deadline_ns, now_ns))
        self.load.asked(demand, capacity)
        return min(demand, capacity)

    def capacity(self, seconds: float) -> int:
        """Rows that fit into ``seconds``."""
        if self.exact and self.fixed == 0 == self.each:
            return _FREE  # free looks are never too late
        if seconds <= 0:
            return 0
        whole, rest = self._chunks(seconds, self.fixed + self.rows * self.each)
        last = self._fit(rest, self.each)
        return int(min(whole * self.rows + min(last, self.rows), _FREE))

    def chunk(self, deadline_ns: int, now_ns: int, left: int) -> int:
        """Rows of the next chunk, of ``left`` that were admitted; 0 = stop, the time is up."""
        if self.exact and self.fixed == 0 == self.each:
            return min(left, BEST_ROWS)
        fit = self._fit(self._left(deadline_ns, now_ns), self.each + 2 * self.deviation)
        return min(self.rows, left, fit)

    def spend(self, rows: int, seconds: float) -> None:
        """A chunk of ``rows`` took ``seconds``. The first one is cold and teaches nothing."""
        self._idle = False
        if self.exact or rows < 1 or not math.isfinite(seconds) or seconds < 0:
            return
        self._samples += 1
        if self._samples > 1:
            self._learn(rows, seconds)

    def frame_done(self, lag_ns: int) -> None:
        """A frame's last verdict came ``lag_ns`` after its anchor: after a miss keep more time in hand."""
        if lag_ns > self.latency_ns:
            self.slack = min(_SLACK_MOST, 1.3 * self.slack + 0.01)
        else:
            self.slack = max(_SLACK_LEAST, 0.99 * self.slack)
        if self._idle and self.load.demand > 0:
            self._doubt()
        self._idle = True
        self.load.frame_done()

    def state(self) -> dict[str, float]:
        """What was learnt, for the checkpoint."""
        return {
            "fixed": self.fixed,
            "each": self.each,
            "deviation": self.deviation,
            "slack": self.slack,
            "samples": float(self._samples),
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Take back :meth:`state`; under a price the price stays. A new process is cold again."""
        self.slack = min(_SLACK_MOST, max(_SLACK_LEAST, state["slack"]))
        if not self.exact:
            self.fixed, self.each, self.deviation = state["fixed"], state["each"], state["deviation"]

    def _left(self, deadline_ns: int, now_ns: int) -> float:
        return (deadline_ns - now_ns - self.slack * self.latency_ns) / 1e9

    def _chunks(self, seconds: float, cost: float) -> tuple[float, float]:
        """Whole chunks that fit, and the seconds left over."""
        if cost <= 0:
            return 0.0, seconds
        whole = math.floor(min(seconds / cost + _ROUND, 1e12))
        return whole, seconds - whole * cost

    def _fit(self, seconds: float, each: float) -> int:
        """Rows of one chunk that fit into ``seconds``."""
        after_call = seconds - self.fixed
        if after_call < 0:
            return 0
        return _FREE if each <= 0 else math.floor(min(after_call / each + _ROUND, 1e15))

    def _learn(self, rows: int, seconds: float) -> None:
        expected = self.fixed + rows * self.each
        if expected <= 0:
            self.each = seconds / rows
            return
        # One stall of the machine says little of the next chunk; a lasting change still gets through.
        seconds = min(seconds, 2 * expected + 4 * rows * self.deviation)
        surprise = seconds - expected
        self.fixed = max(0.0, self.fixed + 0.02 * surprise * self.fixed / expected)
        measured = max(0.0, seconds - self.fixed) / rows
        self.deviation += _RATE * (abs(measured - self.each) - self.deviation)
        self.each += _RATE * (measured - self.each)

    def _doubt(self) -> None:
        """A cost too high to be tried would never be corrected: it fades to what the card says."""
        if self.exact:
            return
        fixed, each = self.card
        self.fixed = max(min(fixed, self.fixed), 0.99 * self.fixed)
        self.each = max(min(each, self.each), 0.99 * self.each)
        self.deviation *= 0.99


class Load:
    """Whether demand lasts above what fits: an alarm for people, never a gate."""

    def __init__(self) -> None:
        self.demand = 0
        self.ratio = 0.0  # demand / capacity, averaged (.3)
        self.overloaded = False
        self._capacity = 1
        self._for = 0  # frames the other state has lasted

    def asked(self, demand: int, capacity: int) -> None:
        """What the frame wanted and what would have fitted."""
        self.demand, self._capacity = demand, capacity

    def frame_done(self) -> None:
        """Count the frame: on above 1.05 for 2 frames, off below .85 for 30."""
        ratio = min(self.demand / max(self._capacity, 0.01), 1000.0)
        self.ratio += 0.3 * (ratio - self.ratio)
        turning = self.ratio < 0.85 if self.overloaded else self.ratio > 1.05
        self._for = self._for + 1 if turning else 0
        if self._for >= (30 if self.overloaded else 2):
            self.overloaded, self._for = not self.overloaded, 0
        self.demand = 0
