"""A storm is told in portions: in order, each change once, readings are taken in between; also over a kill -9."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monitor_feed import Kept

from connectors.batch import Batch
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Commit, Store, StoreError
from stream.app.notify import notifier_of
from stream.app.parts import Cost, monitor_of, rules_of, world_of
from stream.loop import LONGEST, Loop
from stream.settings import from_mapping
from stream.state import Durable
from stream.telling import teller

SECOND, T0 = 1_000_000_000, 1_767_225_600_000_000_000
TURN = SECOND // 100  # ns that a turn takes which does not wait
OFF = range(5, 12)  # steps at which all streams are off
STEPS, MOST = 20, 500
RULES = "groups: [{name: g, rules: [{alert: High, expr: value > 300, annotations: {summary: 'at {{ $value }}'}}]}]\n"


class Feed:
    """Every stream once a second, when it is time; a poll that may not wait brings what is there."""

    def __init__(self, world: Any, streams: int) -> None:
        self._clock, self._n, self.done, self.next = world.clock, streams, False, 0
        names = [(f"m{i // 50}/s{i}", f"m{i // 50}") for i in range(streams)]
        self._slots = np.array([world.table.slot(name, group, None, SECOND) for name, group in names], np.int32)
        self._partition = world.partitions.number("feed/0")

    def seek(self, positions: dict[str, int]) -> None:
        self.next = positions.get("feed/0", 0) // self._n

    def poll(self, until: int) -> Batch:
        at = T0 + self.next * SECOND
        self._clock.wait(max(self._clock.now() + TURN, min(until, at)))
        if self._clock.now() < at:
            return self._batch(0, 0)
        self.next += 1
        self.done = self.next == STEPS
        return self._batch(self._n, self.next - 1)

    def _batch(self, n: int, k: int) -> Batch:
        ts = np.full(n, T0 + k * SECOND)
        value = np.full(n, 900.0 if k in OFF else 1.0)
        positions = {self._partition: (k + 1) * n} if n else {}
        partition, offset = np.full(n, self._partition, np.int32), np.arange(n) + k * n
        return Batch(self._slots[:n], ts, ts, value, partition, offset, positions)

    def commit(self, positions: Any) -> None:
        pass


class Run:
    """One process's life, from what the folder holds."""

    def __init__(self, folder: Path, sinks: dict[str, Kept], streams: int = 5000, most: int = MOST) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "r.yaml").write_text(RULES)
        url = {"url": "http://127.0.0.1:1"}
        settings = from_mapping({
            "model": {"name": "none"}, "rule_files": [str(folder / "r.yaml")],
            "windows": {"size": 16, "lateness": "0s"},
            "receivers": [{"name": "people", "webhook": url, "max_alerts": 0}, {"name": "am", "alertmanager": url}],
            "route": {"receiver": "people", "group_by": ["alertname"], "group_wait": "0s",
                "group_interval": "1s", "routes": [
                {"matchers": "alertname=High", "receiver": "am", "continue": True},
                {"matchers": "alertname=High", "receiver": "people"}]},
        })  # fmt: skip
        self.clock = ReplayClock(T0)
        self.world = world_of(self.clock, settings)
        self.monitor = monitor_of(settings, self.world, rules_of(settings, None), None, Cost((0.0, 0.0)))
        self.outbox, self.store = Outbox(sinks), Store(folder / "state")
        notifier = notifier_of(settings, self.outbox)
        every = SECOND, 4 * SECOND
        partitions = self.world.partitions
        self.keeper = Durable(self.store, self.monitor, partitions, self.outbox, *every, notifier=notifier)
        positions = self.keeper.restore()
        self.feed = Feed(self.world, streams)
        self.feed.seek(positions)
        tell = teller(self.world.table, None)
        self.loop = Loop(
            self.monitor, self.feed, self.clock, partitions, self.keeper, tell, notifier=notifier, most=most,  # type: ignore[arg-type]
        )  # fmt: skip

    def turns(self, n: int) -> None:
        for _ in range(n):
            if not self.feed.done:
                self.loop.turn()

    def die(self) -> None:
        """As after kill -9: nothing is committed any more."""
        self.outbox.close()
        self.store.close()

    def stop(self) -> None:
        """As on SIGTERM."""
        self.loop.run(lambda: True)
        self.keeper.close(self.clock.now(), self.loop.progress, not self.loop.midway)

    def end(self) -> None:
        self.loop.run()
        self.keeper.close(self.clock.now(), self.loop.progress, not self.loop.midway)


def kept() -> dict[str, Kept]:
    return {name: Kept(name) for name in ("data", "receiver/people", "receiver/am")}


def changes(sinks: dict[str, Kept]) -> list[tuple[str, str, str]]:
    return [(m["fingerprint"], m["starts_at"], m["status"]) for m in sinks["data"].messages]


def alerts(sink: Kept) -> set[tuple[str, str, str]]:
    return {(a["fingerprint"], a["startsAt"], a["status"]) for said in sink.messages for a in said["alerts"]}


def test_all_of_a_storm_is_told_once_in_order_as_without_portions(tmp_path: Path) -> None:
    whole, portions = kept(), kept()
    Run(tmp_path / "whole", whole, most=1 << 62).end()
    Run(tmp_path / "portions", portions).end()
    assert len(changes(whole)) == 10_000
    assert portions["data"].messages == whole["data"].messages
    for name in ("receiver/people", "receiver/am"):
        assert alerts(portions[name]) == alerts(whole[name])
    told = [(len(said["alerts"]), said["reason"]) for said in portions["receiver/people"].messages]
    assert told == [(len(said["alerts"]), said["reason"]) for said in whole["receiver/people"].messages]
    assert told[0] == (5000, "new_group"), "a storm is one notification, though `group_wait` is 0s"


def test_readings_are_taken_in_between_and_nothing_is_kept_or_sent_before_all_is_told(tmp_path: Path) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks, most=40)
    while not run.loop.midway:
        run.turns(1)
    begin, read = run.clock.now(), run.monitor.parts.windows.counts["readings"]
    fed, committed = run.feed.next, run.store.positions()
    while run.clock.now() < begin + 9 * SECOND // 8:
        run.turns(1)
        assert run.loop.midway
        assert run.store.positions() == committed
    assert run.feed.next > fed, "its readings did not wait for the storm"
    assert run.monitor.parts.windows.counts["readings"] > read
    assert run.monitor.last_tick > begin
    assert sinks["data"].messages == []
    while run.loop.midway:
        run.turns(1)
    assert run.store.positions()["feed/0"] == 5000 * run.feed.next
    run.end()
    assert len(changes(sinks)) == len(set(changes(sinks))) == 10_000


@pytest.mark.parametrize("after", [1, 5, 10, 11])
def test_a_kill_between_any_two_turns_of_a_storm_loses_and_doubles_nothing(tmp_path: Path, after: int) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks)
    while not run.loop.midway:
        run.turns(1)
    run.turns(after - 1)
    assert run.loop.midway == (after < 11), "ten portions, and a turn that commits"
    run.die()
    Run(tmp_path, sinks).end()
    told = Counter(changes(sinks))
    assert len(told) == 10_000
    assert {status for _, _, status in told} == {"firing", "resolved"}
    if after < 11:
        assert max(told.values()) == 1
    assert alerts(sinks["receiver/people"]) == set(told) == alerts(sinks["receiver/am"])


def test_alerts_that_are_over_before_they_are_told_are_told_in_order(tmp_path: Path) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks, streams=400, most=1)
    run.end()
    by_alert: dict[str, list[str]] = {}
    for fingerprint, _, status in changes(sinks):
        by_alert.setdefault(fingerprint, []).append(status)
    assert list(by_alert.values()) == [["firing", "resolved"]] * 400


def test_an_ordered_stop_tells_the_rest(tmp_path: Path) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks)
    while not run.loop.midway:
        run.turns(1)
    run.stop()  # what the outbox has no room for is sent after the next start
    assert not run.loop.midway
    Run(tmp_path, sinks).end()
    assert len(changes(sinks)) == len(set(changes(sinks))) == 10_000


def test_a_fault_in_the_middle_of_a_storm_keeps_what_was_before_it(tmp_path: Path) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks)
    while not run.loop.midway:
        run.turns(1)
    run.keeper.close(run.clock.now(), run.loop.progress, not run.loop.midway)
    assert changes(sinks) == []
    Run(tmp_path, sinks).end()
    assert len(changes(sinks)) == len(set(changes(sinks))) == 10_000


def test_a_storm_that_does_not_end_is_kept_all_the_same(tmp_path: Path) -> None:
    run = Run(tmp_path, kept(), most=1)
    while not run.loop.midway:
        run.turns(1)
    begin = run.clock.now()
    while run.loop.midway:
        run.turns(1)
    assert run.clock.now() - begin <= LONGEST + SECOND
    assert run.store.positions()["feed/0"] == 5000 * run.feed.next


def test_a_disk_that_is_full_in_the_middle_of_a_storm_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks)
    while not run.loop.midway:
        run.turns(1)

    def full(what: Commit) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(run.store, "stage", full)
        run.turns(2)
    run.turns(2)
    with monkeypatch.context() as patch:
        patch.setattr(run.store, "commit", full)
        run.turns(9)
    assert changes(sinks) == []
    run.end()
    assert len(changes(sinks)) == len(set(changes(sinks))) == 10_000
