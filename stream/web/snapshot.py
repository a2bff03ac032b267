"""What the loop lets the web thread see: one immutable snapshot at a time, swapped by one assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from connectors.batch import Floats, Times
from models.contract import F32
from stream.notify.notifier import Suppressed
from stream.rules.standing import Standing
from stream.telemetry import Figures
from stream.verdict import Codes

State = Literal["starting", "warming", "catching_up", "ready", "draining"]
SECOND = 1_000_000_000  # ns
HISTORY = 600  # moments
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """The newest verdict of every stream, in columns by slot [n], copied; NaN where nothing is said.

    A name "" is a slot that is free. ``outcome`` as in ledger.OUTCOMES or -1, ``ts`` in ns (0 = none yet), ``age``
    in seconds since the last full look.
    """

    names: Sequence[str] = ()
    groups: Sequence[str] = ()
    score: F32 = field(default_factory=lambda: np.empty(0, np.float32))
    value: Floats = field(default_factory=lambda: np.empty(0, np.float64))
    weight: F32 = field(default_factory=lambda: np.empty(0, np.float32))
    outcome: Codes = field(default_factory=lambda: np.empty(0, np.int8))
    ts: Times = field(default_factory=lambda: np.empty(0, np.int64))
    age: F32 = field(default_factory=lambda: np.empty(0, np.float32))
    labels: Sequence[Mapping[str, str]] = ()

    def __len__(self) -> int:
        """Slots that every column has: a stream that is being added may stand in some only."""
        columns = (self.names, self.groups, self.score, self.value, self.weight, self.outcome, self.ts, self.age)
        return min(len(column) for column in columns)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What heed knows at ``time`` (ns, the loop's clock); nothing in it changes once it is published."""

    state: State = "starting"
    time: int = 0
    ready: bool = False
    reasons: tuple[str, ...] = ()  # why not ready
    summary: Row = field(default_factory=dict)  # the summary JSON so far; its lag is that of the last minute
    alerts: tuple[Row, ...] = ()  # alert messages that fire now
    recent: tuple[Row, ...] = ()  # the last alert messages, firing and resolved, newest first
    incidents_open: int = 0
    lag_now: float = 0.0  # s
    budget_seconds: float = 0.0  # lag allowed
    streams: Streams = field(default_factory=Streams)
    figures: Figures = field(default_factory=Figures)
    suppressed: Mapping[str, Suppressed] = field(default_factory=dict)  # by fingerprint, who is kept back and why
    silences: tuple[Row, ...] = ()  # as the interface tells them
    rules: tuple[Standing, ...] = ()
    judged: int = 0  # windows judged in the last minute: those that ``figures.coverage`` is a share of


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the page's lines."""

    time: int  # ns
    lag: float  # s
    coverage: float
    judged: int  # windows that it is a share of


class Board:
    """Where the loop puts its newest snapshot and the web thread finds it. One publishes, any number look."""

    def __init__(self) -> None:
        self._latest = Snapshot()
        self._history: tuple[Moment, ...] = ()

    def publish(self, snapshot: Snapshot) -> None:
        """Show ``snapshot`` from now on."""
        self._latest = snapshot
        last = self._history[-1].time if self._history else 0
        if snapshot.time >= last + SECOND:
            moment = Moment(snapshot.time, snapshot.lag_now, snapshot.figures.coverage, snapshot.judged)
            self._history = (*self._history[1 - HISTORY :], moment)

    def latest(self) -> Snapshot:
        """The newest snapshot."""
        return self._latest

    def history(self) -> tuple[Moment, ...]:
        """Lag and coverage of the last minutes, at most one point a second, oldest first."""
        return self._history
