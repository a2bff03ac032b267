"""Where a replay's or a demo's results go: files, the digest, the summary, and what is written for people."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.clock import Stopwatch, WallClock
from connectors.keeping.outbox import Outbox
from connectors.sink import SinkError
from stream.digest import Digest
from stream.faults import Fired
from stream.loop import Message
from stream.monitor import Monitor
from stream.turn import Turn

SECOND = 1_000_000_000  # ns
NO_LIMIT = 1e9  # seconds: a latency budget from here on is none
LOOK = 5_000_000  # ns between two looks whether all is delivered


@dataclass(slots=True)
class Tally:
    """What a run brought, for its summary: counts alerts and incidents, and keeps those that fired."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    digest: Digest = field(default_factory=Digest)
    fired: list[Fired] = field(default_factory=list)
    opened: list[Fired] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def tell(self, message: Message) -> None:
        """An alert changed."""
        self.digest.tell(message)

    def turn(self, turn: Turn) -> None:
        """Alerts and incidents of one turn."""
        for told in turn.told:
            if told.change.status == "firing":
                self.fired.append(Fired(told.change.group, told.change.stream, told.change.starts_at))
        self.opened += [Fired(i.group, "", i.opened_at) for i in turn.incidents if i.status == "opened"]

    def summary(self, monitor: Monitor, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The summary JSON."""
        wall = max(self.watch.seconds(), 1e-9)
        base = monitor.summary()
        spanned = (monitor.last_tick - monitor.first_tick) / SECOND if monitor.first_tick else 0.0
        throughput = {
            "readings_per_second": round(base["readings"] / wall, 1),
            "times_real_time": round(spanned / wall, 2),
            "cpu_seconds": round(self.watch.cpu_seconds(), 3),
            "stages": {name: round(s, 4) for name, s in sorted(monitor.laps.seconds.items())},
        }
        told = {"alerts": len(self.fired), "incidents": len(self.opened)}
        return base | told | {"throughput": throughput, "digest": self.digest.text()} | dict(extra or {})


def complain(outbox: Outbox) -> None:
    """Stop where results can't be written: a run that is watched need not try again.

    Raises SinkError, and BrokenPipeError where nobody reads standard output any more.
    """
    for problem in outbox.problems().values():
        raise BrokenPipeError if os.strerror(errno.EPIPE) in problem else SinkError(problem)


def deliver(outbox: Outbox) -> None:
    """Wait until all is written, however slowly it is read. Raises as ``complain``."""
    clock = WallClock()
    while any(each.waiting for each in outbox.counts().values()):
        complain(outbox)
        clock.wait(clock.now() + LOOK)
    outbox.close()


def write_summary(path: str, summary: Mapping[str, Any], indent: int | None = 2) -> None:
    """The summary as a JSON file; ``-`` = standard output."""
    text = json.dumps(summary, indent=indent)
    if path == "-":
        print(text)  # noqa: T201 - data goes to standard output
    else:
        Path(path).write_text(text + "\n")


def seconds(value: float) -> str:
    """A span for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def lines_of(summary: Mapping[str, Any]) -> list[str]:
    """The summary for people."""
    windows, lag, rate = summary["windows"], summary["lag"], summary["throughput"]
    looked = windows["full"] + windows["lite"]
    counted = windows["due"] - windows["gap"] - windows["warmup"]
    out = [
        f"{summary['readings']:,} readings of {summary['streams']:,} streams in {summary['groups']:,} groups; "
        f"{rate['times_real_time']:,.0f} times real time, {rate['readings_per_second']:,.0f} readings a second",
        f"{windows['due']:,} windows due: {looked:,} looked at, {windows['shed']:,} shed, "
        f"{windows['sentinel']:,} by the sentinel alone, {windows['gap']:,} gaps, {windows['warmup']:,} in warm-up",
        f"lag p50 {seconds(lag['p50'])}, p99 {seconds(lag['p99'])} {_allowed(summary['budget'])}; "
        f"coverage {100 * looked / counted if counted else 100:.1f} % of the windows that could be judged",
        f"{summary['alerts']:,} alerts in {summary['incidents']:,} incidents",
    ]
    return out + [line for note in _NOTES if (line := note(summary))]


def _allowed(budget: float) -> str:
    return f"of {seconds(budget)} allowed" if budget < NO_LIMIT else "with nothing shed, however late"


def _blind(summary: Mapping[str, Any]) -> str:
    n, longest = summary["guarantee_violations"], seconds(summary["longest_unseen"])
    return f"blind was not kept {n:,} times; the longest a stream went unseen was {longest}" if n else ""


def _late(summary: Mapping[str, Any]) -> str:
    return f"{summary['late']:,} readings came too late for their step" if summary["late"] else ""


def _faults(summary: Mapping[str, Any]) -> str:
    faults = summary.get("faults")
    if not faults:
        return ""
    delay = f", half of them within {faults['delay_p50']:.1f} s" if faults["delay_p50"] is not None else ""
    return (
        f"{faults['found']} of {faults['injected']} known faults found{delay}; "
        f"{faults['false_alerts']} incidents overlap no fault"
    )


_NOTES: tuple[Callable[[Mapping[str, Any]], str], ...] = (_blind, _late, _faults)
