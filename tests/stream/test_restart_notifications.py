"""A run that is killed anywhere tells people the same as one that is not: nothing is lost, nothing is told twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from monitor_feed import Kept
from test_restart import STEPS, made

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from connectors.synthetic import SyntheticSource
from stream.app.notify import notifier_of
from stream.app.parts import Cost, monitor_of, rules_of, world_of
from stream.loop import Loop
from stream.settings import Settings, from_mapping
from stream.state import Durable
from stream.telling import teller

URL = {"url": "http://127.0.0.1:1"}


def settings(**more: Any) -> Settings:
    return from_mapping(
        {
            "model": {"name": "none"},
            "receivers": [
                {"name": "people", "webhook": URL},
                {"name": "am", "alertmanager": URL, "resend_delay": "10s"},
                {"name": "both", "webhook": URL, "alertmanager": URL},
            ],
            "route": {
                "receiver": "people",
                "group_wait": "2s",
                "group_interval": "8s",
                "repeat_interval": "30s",
                "routes": [
                    {"matchers": "alertname=~.*", "receiver": "am", "continue": True},
                    {"matchers": "alertname=~.*", "receiver": "people", "group_by": ["alertname"], "continue": True},
                    {"matchers": "severity=critical", "receiver": "both", "group_wait": "0s"},
                ],
            },
            **more,
        }
    )


NAMES = ("data", "receiver/people", "receiver/am", "receiver/both/webhook", "receiver/both/alertmanager")


class Run:
    """One process's life: from what the folder holds, for some turns."""

    def __init__(self, folder: Path, sinks: dict[str, Kept], how: Settings | None = None) -> None:
        found = how or settings()
        synthetic = made()
        self.clock = ReplayClock(synthetic.start_ns)
        world = world_of(self.clock, found)
        self.monitor = monitor_of(found, world, rules_of(found, None), None, Cost((0.0, 0.0)))
        self.outbox, self.store = Outbox(sinks), Store(folder)
        self.notifier = notifier_of(found, self.outbox)
        self.notifier._busy = lambda sink: False  # how fast a thread is has no say in what is told
        every = SECOND, 40 * SECOND
        self.keeper = Durable(self.store, self.monitor, world.partitions, self.outbox, *every, notifier=self.notifier)
        positions = self.keeper.restore()
        end = synthetic.start_ns + STEPS * SECOND // 4
        self.source = SyntheticSource(synthetic, world.table, world.partitions, self.clock, end_ns=end)
        self.source.seek(positions)
        tell = teller(world.table, None)
        self.loop = Loop(
            self.monitor, self.source, self.clock, world.partitions, self.keeper, tell, notifier=self.notifier
        )

    def turns(self, n: int) -> None:
        for _ in range(n):
            if not self.source.done:
                self.loop.turn()

    def die(self) -> None:
        """As after kill -9: nothing is committed, nothing is delivered that was not."""
        self.outbox.close()
        self.store.close()

    def end(self) -> None:
        self.loop.run()
        self.keeper.close(self.clock.now(), self.loop.progress)


def kept() -> dict[str, Kept]:
    return {name: Kept(name) for name in NAMES}


def alerts_of(sink: Kept) -> set[tuple[str, str, str]]:
    return {(a["fingerprint"], a["startsAt"], a["status"]) for said in sink.messages for a in said["alerts"]}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_anywhere_tells_the_same_notifications(tmp_path: Path, seed: int) -> None:
    whole, killed = kept(), kept()
    Run(tmp_path / "whole", whole).end()
    rng = random.Random(seed)
    for _ in range(7):
        run = Run(tmp_path / "killed", killed)
        run.turns(rng.randrange(1, 500))
        run.die()
    last = Run(tmp_path / "killed", killed)
    last.end()

    assert len(whole["data"].messages) > 20
    assert {(m["id"], m["status"]) for m in killed["data"].messages} == {
        (m["id"], m["status"]) for m in whole["data"].messages
    }  # fmt: skip
    for name in ("receiver/people", "receiver/both/webhook"):
        assert {said["id"] for said in killed[name].messages} == {said["id"] for said in whole[name].messages}, name
        by_id = {said["id"]: said for said in whole[name].messages}
        assert all(said == by_id[said["id"]] for said in killed[name].messages), "the same words under the same id"
    for name in ("receiver/am", "receiver/both/alertmanager"):
        assert alerts_of(killed[name]) == alerts_of(whole[name])
    assert len(whole["receiver/people"].messages) > 10


def test_after_a_restart_nobody_is_told_again_before_it_is_time(tmp_path: Path) -> None:
    sinks, how = kept(), settings(route={"receiver": "people", "group_wait": "0s", "repeat_interval": "4h"})
    run = Run(tmp_path, sinks, how)
    while len(sinks["receiver/people"].messages) < 5:
        run.turns(1)
    run.turns(20)
    run.die()
    for _ in range(5):
        again = Run(tmp_path, sinks, how)
        again.turns(30)
        again.die()
    Run(tmp_path, sinks, how).end()
    told = Counter(said["id"] for said in sinks["receiver/people"].messages)
    assert max(told.values()) <= 7  # delivered again by its id where the end came before the note that it was
    assert not [said for said in sinks["receiver/people"].messages if said["reason"] in ("repeat", "resend")]


def test_what_fires_is_told_where_receivers_are_new_and_over_where_the_rule_is_gone(tmp_path: Path) -> None:
    sinks = kept()
    run = Run(tmp_path, sinks, settings(receivers=[], route={}))
    while not any(change.rule.alert == "StreamAnomaly" for change in run.monitor.firing()):
        run.turns(1)
    firing = {change.fingerprint for change in run.monitor.firing()}
    run.keeper.close(run.clock.now(), run.loop.progress)
    assert sinks["receiver/people"].messages == []

    again = Run(tmp_path, sinks, settings(route={"receiver": "people", "group_wait": "0s"}))
    again.turns(1)
    again.keeper.close(again.clock.now(), again.loop.progress)
    assert {key for key, _, status in alerts_of(sinks["receiver/people"]) if status == "firing"} >= firing

    rules = tmp_path / "other.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: Other, expr: value > 1e9}]}]\n")
    how = settings(route={"receiver": "people", "group_wait": "0s", "group_interval": "1s"}, rule_files=[str(rules)])
    gone = Run(tmp_path, sinks, how)
    gone.turns(400)
    gone.keeper.close(gone.clock.now(), gone.loop.progress)
    assert {key for key, _, status in alerts_of(sinks["receiver/people"]) if status == "resolved"} >= firing
