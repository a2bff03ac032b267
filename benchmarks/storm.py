"""What a storm costs: the alerts of all streams fire in one step; in portions, beside telling all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from connectors.batch import SECOND, Batch
from connectors.clock import Stopwatch
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from stream.app.daemon import MOST_TOLD, settle_memory
from stream.app.notify import notifier_of
from stream.app.parts import Cost, World, monitor_of, rules_of, world_of
from stream.loop import FOREVER, Loop
from stream.settings import Settings, from_mapping
from stream.state import Durable
from stream.telling import teller
from stream.verdict import Verdicts

STEP = SECOND // 4
BEGIN = 1_767_225_600 * SECOND
BEFORE, AFTER = 16, 24  # steps
_GROUP = 50  # streams
_RULES = """
groups:
- name: storm
  rules:
  - alert: High
    expr: value > 300
    labels: {severity: page}
    annotations:
      summary: "{{ $labels.stream }} is at {{ $value | humanize }}"
      description: '{{ with $values.expected }}{{ printf "%.2f" . }} was expected{{ end }}'
"""


def measure(streams: int = 5_000) -> dict[str, Any]:
    """CPU time with portions as in the daemon, and with all told in one turn; on a clock that only this work moves.

    For each: ``turn_ms`` of the longest turn, ``lag_ms`` of the slowest step behind the storm, ``us_each`` = CPU time
    beyond that of a run without a storm for each alert, ``turns`` until all was told and kept.
    """
    quiet = _run(streams, FOREVER, off=False)["seconds"]
    found = [{"name": name, **_run(streams, most)} for name, most in (("in portions", MOST_TOLD), ("at once", FOREVER))]
    return {"streams": streams, "found": [_beyond(each, quiet, streams) for each in found]}


def _beyond(run: dict[str, Any], quiet: float, streams: int) -> dict[str, Any]:
    return {**run, "us_each": round(1e6 * (run.pop("seconds") - quiet) / streams, 1)}


class _Clock:
    """Goes on with this process's CPU time, and jumps where it waits."""

    def __init__(self) -> None:
        self._watch, self._jumped = Stopwatch(), 0

    def now(self) -> int:
        return BEGIN + self._jumped + int(self._watch.cpu_seconds() * SECOND)

    def wait(self, until: int) -> None:
        self._jumped += max(0, until - self.now())

    def charge(self, seconds: float) -> float:
        return seconds


class _Feed:
    """A reading of every stream at each step, when it is time; all are off from one step on."""

    def __init__(self, world: World, streams: int, off: bool) -> None:
        self._clock, self._off, self.next = world.clock, off, 0
        names = [(f"m{i // _GROUP}/s{i}", f"m{i // _GROUP}") for i in range(streams)]
        self._slots = np.array([world.table.slot(name, group, None, STEP) for name, group in names], np.int32)
        self._partition = world.partitions.number("storm/0")
        self._value = np.linspace(800.0, 900.0, streams)

    @property
    def done(self) -> bool:
        return self.next >= BEFORE + AFTER

    def poll(self, until: int) -> Batch:
        at = BEGIN + self.next * STEP
        self._clock.wait(min(until, at))
        n = self._slots.size if self._clock.now() >= at else 0
        ts, offset = np.full(n, at), np.arange(n) + self.next * self._slots.size
        value = self._value[:n] if self._off and self.next >= BEFORE else self._value[:n] / 900
        self.next += n > 0
        positions = {self._partition: self.next * n} if n else {}
        partition = np.full(n, self._partition, np.int32)
        return Batch(self._slots[:n], ts, ts, value, partition, offset, positions)

    def seek(self, positions: Mapping[str, int]) -> None:
        """It always begins at its beginning."""

    def commit(self, positions: Mapping[str, int]) -> None:
        """Nobody asks for it."""

    def close(self) -> None:
        """Nothing is held."""


class _Nowhere:
    """A sink that takes everything."""

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, messages: Sequence[Any]) -> None:
        pass

    def close(self) -> None:
        pass


def _settings(rules: Path) -> Settings:
    url = {"url": "http://127.0.0.1:1"}
    return from_mapping(
        {
            "model": {"name": "none"},
            "rule_files": [str(rules)],
            "windows": {"size": 16, "lateness": "0s"},
            "receivers": [{"name": "people", "webhook": url}, {"name": "am", "alertmanager": url}],
            "route": {"receiver": "people", "routes": [
                {"matchers": "severity=page", "receiver": "am", "continue": True},
                {"matchers": "severity=page", "receiver": "people"}]},
        }
    )  # fmt: skip


def _run(streams: int, most: int, off: bool = True) -> dict[str, Any]:
    with TemporaryDirectory(prefix="heed-bench-") as folder:
        rules = Path(folder) / "rules.yaml"
        rules.write_text(_RULES)
        settings = _settings(rules)
        world = world_of(_Clock(), settings)
        monitor = monitor_of(settings, world, rules_of(settings, None), None, Cost())
        outbox = Outbox({each: _Nowhere(each) for each in ("data", "receiver/people", "receiver/am")})
        notifier = notifier_of(settings, outbox)
        store, every = Store(Path(folder) / "state"), (SECOND, 300 * SECOND)
        keeper = Durable(store, monitor, world.partitions, outbox, *every, notifier=notifier)
        keeper.restore()
        feed, tell = _Feed(world, streams, off), teller(world.table, None)
        loop = Loop(monitor, feed, world.clock, world.partitions, keeper, tell, notifier=notifier, most=most)
        settle_memory()
        lags: list[int] = []

        def observe(verdicts: Verdicts) -> None:
            lags.append(world.clock.now() - verdicts.tick.due)

        monitor.observers.append(observe)
        found = _figures(loop, feed, lags)
        keeper.close(world.clock.now(), loop.progress)
        return found


def _figures(loop: Loop, feed: _Feed, lags: list[int]) -> dict[str, Any]:
    spent: list[tuple[int, float, bool]] = []  # step, CPU seconds of the turn, whether the storm is being told
    while not feed.done:
        watch = Stopwatch()
        loop.turn()
        spent.append((feed.next, watch.cpu_seconds(), loop.midway))
    quiet = sorted(seconds for step, seconds, _ in spent if BEFORE // 2 < step <= BEFORE)
    storm = [seconds for step, seconds, _ in spent if step > BEFORE]
    return {
        "turn_ms": round(1000 * max(storm), 1),
        "quiet_turn_ms": round(1000 * quiet[len(quiet) // 2], 1),
        "lag_ms": round(max(lags[BEFORE + 1 :]) / 1e6, 1),
        "seconds": sum(storm),
        "turns": 1 + sum(midway for *_, midway in spent),
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for each in found["found"]:
        yield (
            f"a storm of {found['streams']:,} alerts, told {each['name']}, {each['turns']} turns: the longest turn "
            f"{each['turn_ms']:g} ms (a quiet one {each['quiet_turn_ms']:g} ms), lag behind it {each['lag_ms']:g} ms, "
            f"{each['us_each']:g} us of CPU an alert"
        )
