"""How fast a recording goes through the real loop, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connectors.batch import SECOND
from connectors.clock import Stopwatch
from stream.app.replay import Options, replay
from stream.monitor import Monitor

LEAD = 200  # steps before the measured part: longer than any warm-up of a stream
WARM = 128  # steps after which no stream of the recording is in warm-up
LATENCY = 0.25  # seconds: the budget of the run that sheds
MODES = {
    "sentinel": "the sentinel on every step, no model",
    "model": "the shipped model on every window",
    "shed": "the model on about a tenth of the windows, as the budget has it",
}


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a run stood: event time of its last step, clocks, counts."""

    tick: int
    wall: float
    cpu: float
    readings: int
    due: int
    looked: int
    stages: dict[str, float]


@dataclass(slots=True)
class _Marks:
    """Notes how far the run is each time it tells of its progress, once nothing is in warm-up any more."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    taken: list[_Mark] = field(default_factory=list)

    def take(self, share: float, monitor: Monitor) -> None:
        """Called by the replay every so many turns."""
        if monitor.last_tick - monitor.first_tick < WARM * SECOND:
            return
        windows = monitor.parts.ledger.windows()
        looked = windows["full"] + windows["lite"]
        judged = windows["due"] - windows["gap"] - windows["warmup"]
        readings, stages = monitor.parts.windows.counts["readings"], dict(monitor.laps.seconds)
        cpu, wall = self.watch.cpu_seconds(), self.watch.seconds()
        self.taken.append(_Mark(monitor.last_tick, wall, cpu, readings, judged, looked, stages))


def measure(path: str, mode: str, streams: int) -> dict[str, Any]:
    """Replay a recording of ``streams`` streams at 1 Hz in one of MODES; figures of the part after the warm-up.

    ``times_real_time`` and ``readings_per_second`` are by CPU seconds, which on an idle machine are the wall's.
    """
    marks = _Marks()
    replay(_options(path, mode, streams, marks))
    if len(marks.taken) < 2:
        raise ValueError(f"a recording must be at least {LEAD + 64} steps long to be measured")
    first, last = marks.taken[0], marks.taken[-1]
    seconds, cpu, wall = (last.tick - first.tick) / SECOND, last.cpu - first.cpu, last.wall - first.wall
    return {
        "mode": mode,
        "streams": streams,
        "steps": round(seconds),
        "times_real_time": round(seconds / cpu, 2),
        "times_real_time_wall": round(seconds / wall, 2),
        "readings_per_second": round((last.readings - first.readings) / cpu),
        "ms_per_step": round(1000 * cpu / seconds, 3),
        "coverage": round((last.looked - first.looked) / max(1, last.due - first.due), 4),
        "stages": _shares(first, last),
    }


def _options(path: str, mode: str, streams: int, marks: _Marks) -> Options:
    if mode == "sentinel":
        return Options([path], overrides=["model.name=none"], progress=marks.take)
    if mode == "model":
        return Options([path], progress=marks.take)
    each = LATENCY / (streams / 10)  # a price at which a tenth fits
    return Options([path], budget=f"{LATENCY}s", price=f"0ms,{round(each * SECOND)}ns", progress=marks.take)


def _shares(first: _Mark, last: _Mark) -> dict[str, float]:
    """Each stage's share of the wall's time; "reading" is what no stage of the monitor took: source and loop."""
    spent = {name: seconds - first.stages.get(name, 0.0) for name, seconds in last.stages.items()}
    spent["reading"] = max(0.0, last.wall - first.wall - sum(spent.values()))
    total = sum(spent.values())
    return {name: round(seconds / total, 4) for name, seconds in sorted(spent.items(), key=lambda s: -s[1])}
