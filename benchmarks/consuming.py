"""One consumer over one topic, from its beginning: heed as it is run, or what a user might write instead."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import SECOND
from connectors.clock import Clock, Stopwatch, WallClock
from stream.app.daemon import Daemon, RunOptions
from stream.settings import load

WINDOW = 128
_LEAD = 0.4  # of a peer's readings: before that, streams are new and clients fetch the first time
_IDLE_S = 60.0  # without an end for so long: something is wrong

_CONFIG = """
sources:
  - type: kafka
    topics: [{topic}]
    client_library: {library}
    client: {{bootstrap.servers: "{servers}", group.id: "{group}", auto.offset.reset: earliest}}
    format: {format}
    fields: {{stream: "{{machine}}/{{sensor}}", group: "{{machine}}", time: ts, value: value}}
streams: [{{match: "*", step: 1s}}]
model: {{name: none}}
sinks: [{{type: kafka, topic: {alerts}}}]
state: {{path: {folder}/state}}
server: {{listen: none}}
limits: {{streams: 1000000}}
"""


@dataclass(slots=True)
class _Mark:
    """CPU seconds and readings where the measured part begins; ``take`` is told how many readings there are by now."""

    total: int
    lead: int
    watch: Stopwatch = field(default_factory=Stopwatch)
    start: tuple[float, float, int] | None = None
    over: bool = False

    def take(self, readings: int) -> bool:
        """True when all are read."""
        if self.start is None and readings >= self.lead:
            self.start = self.watch.cpu_seconds(), self.watch.seconds(), readings
        self.over = readings >= self.total
        if not self.over and self.watch.seconds() > _IDLE_S * (1 + self.total / 500_000):
            raise TimeoutError(f"only {readings} of {self.total} readings came")
        return self.over

    def rate(self, readings: int) -> dict[str, Any]:
        """Readings per CPU second of this process, all its threads, and by the wall."""
        assert self.start is not None
        cpu, wall, before = self.start
        done = readings - before
        return {
            "readings_per_second": round(done / (self.watch.cpu_seconds() - cpu)),
            "by_the_wall": round(done / (self.watch.seconds() - wall)),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """One of several consumers in a group: reads once it has ``partitions`` and somebody made the file ``go``.

    That it has them it tells by a file ``ready``. ``core`` is the one it stays on, counted from the last.
    """

    group: str
    partitions: int
    ready: str
    go: str
    core: int

    def await_turn(self, source: Any, clock: Clock) -> None:
        """Wait where it is time to."""
        if len(source.lag()) == self.partitions and not Path(self.go).exists():
            Path(self.ready).touch()
            if not Path(self.go).with_name("all").exists():
                return  # who stops polling keeps the others from getting theirs
            while not Path(self.go).exists():
                clock.wait(clock.now() + SECOND // 10)

    def stay(self) -> None:
        """On its own core, as far as there are so many."""
        if hasattr(os, "sched_setaffinity"):
            cores = range(os.cpu_count() or 1)
            os.sched_setaffinity(0, {cores[-1 - self.core % len(cores)]})


def measure(
    servers: str,
    topic: str,
    way: str,
    total: int,
    alerts: str,
    form: str = "single",
    lead: int = 0,
    place: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Consume ``total`` readings one ``way``: kafka-python or confluent (heed on that client), or naive.

    Measured is what follows the first ``lead`` readings. ``place``: of a Place, where it is not alone in its group.
    """
    mark = _Mark(total, lead or round(_LEAD * total))
    own = None if place is None else Place(**place)
    if way == "naive":
        return mark.rate(_naive(servers, topic, alerts, mark))
    with TemporaryDirectory(prefix="heed-bench-") as folder:
        config = Path(folder) / "heed.yaml"
        format = form if form in ("columns", "arrow") else "json"
        group = own.group if own else _group()
        about = {"servers": servers, "topic": topic, "library": way, "group": group, "format": format}
        config.write_text(_CONFIG.format(**about, alerts=alerts, folder=folder))
        return _heed(str(config), mark, own)


def _group() -> str:
    return f"bench.{uuid.uuid4().hex[:8]}"


def _heed(config: str, mark: _Mark, place: Place | None) -> dict[str, Any]:
    settings = load(config, [], need_sources=True)
    with ExitStack() as stack:
        daemon = Daemon(RunOptions(config, web=False), settings, WallClock(), stack)
        windows, monitor = daemon.monitor.parts.windows, daemon.monitor
        stages: dict[str, float] = {}
        if place:
            place.stay()

        def over() -> bool:
            if place:
                place.await_turn(next(iter(daemon.sources.values())), daemon.world.clock)
            begun = mark.start is not None
            done = mark.take(windows.counts["readings"] + windows.counts.get("late", 0))
            if not begun and mark.start is not None:
                stages.update(monitor.laps.seconds)
            return done

        daemon.loop.run(over)
        found = mark.rate(windows.counts["readings"] + windows.counts.get("late", 0))
        spent = {name: seconds - stages.get(name, 0.0) for name, seconds in monitor.laps.seconds.items()}
        found["stages"] = {name: round(seconds, 3) for name, seconds in spent.items() if seconds > 0.01}
        found["late"] = windows.counts.get("late", 0)
        daemon.keeper.close(daemon.world.clock.now(), daemon.loop.progress, True)
    return found


def _naive(servers: str, topic: str, alerts: str, mark: _Mark) -> int:
    """The first thing one would write: a ring of readings a stream, and its mean and deviation at each reading."""
    kafka = import_module("kafka")
    options = {"bootstrap_servers": servers, "group_id": _group(), "auto_offset_reset": "earliest"}
    consumer, producer = kafka.KafkaConsumer(topic, **options), kafka.KafkaProducer(bootstrap_servers=servers)
    rings: dict[str, npt.NDArray[np.float64]] = {}
    seen: dict[str, int] = {}
    readings = 0
    while not mark.take(readings):
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                reading = json.loads(record.value)
                stream, value = f"{reading['machine']}/{reading['sensor']}", reading["value"]
                n = seen.get(stream, 0)
                ring = rings.setdefault(stream, np.zeros(WINDOW))
                past = ring[:n]
                if n > 1 and abs(value - past.mean()) > 8 * past.std():
                    producer.send(alerts, json.dumps({"stream": stream, "value": value}).encode())
                ring[reading["ts"] // 1000 % WINDOW if n == WINDOW else n] = value
                seen[stream] = min(WINDOW, n + 1)
            readings += len(records)
    consumer.close()
    producer.close()
    return readings
