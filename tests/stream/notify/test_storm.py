"""A storm: five thousand alerts in one step become a few notifications, and detection does not wait for them."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from told import SECOND, T0, Told, message, route

from connectors.batch import Batch
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from stream.app.notify import notifier_of
from stream.app.parts import Cost, monitor_of, rules_of, world_of
from stream.loop import Loop
from stream.notify.route import Receiver
from stream.notify.silence import wanted
from stream.settings import from_mapping
from stream.state import Durable
from stream.telling import teller

STREAMS, STEPS, STORM = 5000, 16, 8
URL = {"url": "http://127.0.0.1:1"}


class Kept:
    def __init__(self, name: str) -> None:
        self.name, self.messages = name, list[Any]()

    def send(self, messages: Any) -> None:
        self.messages += messages

    def close(self) -> None:
        pass


class Steps:
    """Every stream once a second; all of them are off from STORM on."""

    def __init__(self, world: Any) -> None:
        self._clock, self._next, self.done = world.clock, 0, False
        self._slots = np.array(
            [world.table.slot(f"m{i // 50}/s{i}", f"m{i // 50}", None, SECOND) for i in range(STREAMS)]
        )
        self._partition = world.partitions.number("feed/0")

    def poll(self, until: int) -> Batch:
        k, self._next = self._next, self._next + 1
        self._clock.wait(T0 + k * SECOND)
        ts = np.full(STREAMS, T0 + k * SECOND)
        self.done = self._next == STEPS
        return Batch(
            self._slots.astype(np.int32), ts, ts, np.full(STREAMS, 900.0 if k >= STORM else 1.0),
            np.full(STREAMS, self._partition, np.int32), np.arange(STREAMS) + k * STREAMS,
            {self._partition: (k + 1) * STREAMS},
        )  # fmt: skip

    def commit(self, positions: Any) -> None:
        pass


def run(folder: Path, receivers: bool) -> tuple[dict[str, Kept], Loop, Any]:
    folder.mkdir()
    rules = folder / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 300}]}]\n")
    some = [{"name": "people", "webhook": URL, "max_alerts": 100}, {"name": "am", "alertmanager": URL}]
    both = {"matchers": "alertname=High", "receiver": "am", "continue": True}
    settings = from_mapping({
        "model": {"name": "none"}, "rule_files": [str(rules)], "windows": {"size": 16, "lateness": "0s"},
        "receivers": some if receivers else [],
        "route": {"group_by": ["alertname"], "group_wait": "2s", "routes": [
            both, {"matchers": "alertname=High", "receiver": "people"}]} if receivers else {},
    })  # fmt: skip
    world = world_of(ReplayClock(T0), settings)
    monitor = monitor_of(settings, world, rules_of(settings, None), None, Cost((0.0, 0.0)))
    sinks = {name: Kept(name) for name in ("data", "receiver/people", "receiver/am")}
    outbox, store = Outbox(sinks), Store(folder / "state")
    notifier = notifier_of(settings, outbox)
    keeper = Durable(store, monitor, world.partitions, outbox, SECOND, 300 * SECOND, notifier=notifier)
    tell = teller(world.table, None)
    loop = Loop(monitor, Steps(world), world.clock, world.partitions, keeper, tell, notifier=notifier, most=500)  # type: ignore[arg-type]
    loop.run()
    keeper.close(world.clock.now(), loop.progress)
    return sinks, loop, monitor


def test_five_thousand_alerts_are_a_few_notifications_and_are_found_when_they_would_be(tmp_path: Path) -> None:
    alone, _, _ = run(tmp_path / "alone", False)
    sinks, _, monitor = run(tmp_path / "told", True)
    assert len(sinks["data"].messages) == STREAMS
    assert sorted(json.dumps(m) for m in sinks["data"].messages) == sorted(
        json.dumps(m) for m in alone["data"].messages
    )
    (said,) = sinks["receiver/people"].messages
    assert (len(said["alerts"]), said["truncatedAlerts"], said["reason"]) == (100, STREAMS - 100, "new_group")
    passed = {a["fingerprint"] for m in sinks["receiver/am"].messages for a in m["alerts"]}
    assert (len(passed), len(sinks["receiver/am"].messages)) == (STREAMS, 10)
    spent = monitor.laps.seconds
    print({name: round(1000 * seconds) for name, seconds in spent.items()})
    assert spent["notify"] < 0.5 * sum(spent.values()), "most of the time is spent on what it is about"


def test_what_a_storm_costs_is_linear_and_small() -> None:
    def cost(n: int) -> float:
        told = Told(route(Receiver("r", ("receiver/r",)), group_by=("alertname",)))
        told.notifier.desk.ask(
            wanted({"matchers": ["stream=~x.*"], "duration": "1h", "createdBy": "a", "comment": "c"})
        )
        told.at(0)
        storm = [message(f"m{i // 50}/s{i}", 1) for i in range(n)]
        begin = process_time()
        told.notifier.step(storm, T0 + SECOND)
        return process_time() - begin

    small, large = (min(cost(n) for _ in range(3)) for n in (1000, 10_000))
    assert large < 30 * small + 0.05
    assert large < 2.0, "seconds; about 0.05 on a machine of its own"
