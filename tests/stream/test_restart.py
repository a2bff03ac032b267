"""A run that is broken off anywhere and taken up again tells the same as one that is not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from monitor_feed import Kept

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from connectors.synthetic import DEMO_FAULTS, SyntheticSource
from connectors.synthetic import World as Synthetic
from stream.app.parts import Cost, monitor_of, rules_of, scorer_of, world_of
from stream.loop import Loop
from stream.monitor import Monitor
from stream.settings import Settings, from_mapping
from stream.state import Durable
from stream.telling import teller

STEPS = 700


def made() -> Synthetic:
    world = Synthetic(40, 2, group_size=(6, 10))
    world.plan(world.start_ns + 300 * SECOND // 4, world.start_ns + STEPS * SECOND // 4, DEMO_FAULTS, 12, gap_steps=40)
    return world


class Run:
    """One process's life: from what the folder holds, for some turns."""

    def __init__(self, folder: Path, settings: Settings, sink: Kept, checkpoint: int = 40 * SECOND) -> None:
        synthetic = made()
        self.clock = ReplayClock(synthetic.start_ns)
        self.world = world_of(self.clock, settings)
        table, partitions = self.world.table, self.world.partitions
        scorer = scorer_of(settings)
        self.monitor: Monitor = monitor_of(settings, self.world, rules_of(settings, None), scorer, Cost((0.0, 0.0)))
        self.outbox = Outbox({"kept": sink})
        self.store = Store(folder)
        self.keeper = Durable(self.store, self.monitor, partitions, self.outbox, SECOND, checkpoint)
        positions = self.keeper.restore()
        end = synthetic.start_ns + STEPS * SECOND // 4
        self.source = SyntheticSource(synthetic, table, partitions, self.clock, end_ns=end)
        self.source.seek(positions)
        tell = teller(table, scorer)
        self.loop = Loop(self.monitor, self.source, self.clock, partitions, self.keeper, tell)

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


def settings(model: str) -> Settings:
    return from_mapping({"model": {"name": model}})


def told(sink: Kept) -> set[tuple[str, str, str]]:
    return {(m["fingerprint"], m["starts_at"], m["status"]) for m in sink.messages}


@pytest.mark.parametrize("model", ["none", "builtin"])
def test_a_run_killed_anywhere_tells_the_same_alerts_and_counts_the_same_windows(tmp_path: Path, model: str) -> None:
    whole_sink, sink = Kept(), Kept()
    whole = Run(tmp_path / "whole", settings(model), whole_sink)
    whole.end()
    rng = random.Random(3)
    for _ in range(8):
        run = Run(tmp_path / "killed", settings(model), sink)
        run.turns(rng.randrange(20, 260))
        run.die()
    run = Run(tmp_path / "killed", settings(model), sink)
    run.end()

    assert len(told(whole_sink)) > 10
    assert told(sink) == told(whole_sink)
    assert run.monitor.parts.ledger.windows() == whole.monitor.parts.ledger.windows()
    assert run.monitor.parts.windows.counts == whole.monitor.parts.windows.counts
    ours, theirs = run.monitor.parts.sentinel.columns(), whole.monitor.parts.sentinel.columns()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


READINGS = """
groups:
- name: past
  rules:
  - {alert: Far, expr: 'abs(value - avg_over("value", "20s")) > 3 * stddev_over("value", "20s")'}
  - {alert: Moves, expr: 'count_over(value != offset("value", "5s"), "10s") >= 39 and max_over(flat, "5s") < 0.5'}
  - {alert: Together, expr: 'group_count(value > max_over(last_over(value, "2 steps"), "5s") - 1e-9) >= 4'}
  - {alert: Gone, expr: 'absent_for("value", "3s")'}
"""
VERDICTS = """
groups:
- name: said
  rules:
  - {alert: Often, expr: 'count_over(score > 0.7, "30s") >= 6'}
  - {alert: Peak, expr: 'score < 0.5 * max_over("score", "12s") and max_over("score", "12s") > 1'}
  - {alert: Off, expr: 'avg_over(abs(value - expected) / (high - low), "20s") > 0.4'}
  - {alert: Rare, expr: 'min_over("p", "25s") < 1e-5 and share_over(fidelity == "sentinel", "8s") < 2'}
  - {alert: Panel, expr: 'group_max(avg_over("score", "10s")) > 0.9'}
  - {alert: Longest, expr: 'max_over(max_over("score", "5s"), "10m") > 1 and last_over("coverage", "5s") >= 0'}
  - {alert: Some, expr: 'endswith(stream, "flow") and sum_over("score", "15s") > 12'}
"""


@pytest.mark.parametrize(("model", "rules"), [("none", READINGS), ("none", VERDICTS), ("builtin", VERDICTS)])
def test_a_run_killed_anywhere_remembers_what_its_rules_look_back_at(tmp_path: Path, model: str, rules: str) -> None:
    (tmp_path / "rules.yaml").write_text(rules)
    own = from_mapping({"model": {"name": model}, "rule_files": [str(tmp_path / "rules.yaml")]})
    whole_sink, sink = Kept(), Kept()
    whole = Run(tmp_path / "whole", own, whole_sink)
    whole.end()
    rng = random.Random(5)
    for _ in range(9):  # checkpoints come while steps are read again, too
        run = Run(tmp_path / "killed", own, sink, rng.choice([3, 40, 40]) * SECOND)
        run.turns(rng.randrange(2, 260))
        run.die()
    run = Run(tmp_path / "killed", own, sink)
    run.end()
    seldom = {"Moves", "Gone"}
    assert {m["rule"] for m in whole_sink.messages} | seldom >= set(re.findall(r"alert: (\w+)", rules))
    assert told(sink) == told(whole_sink)
    if model == "none":
        assert Store(tmp_path / "whole").notes() == [], "nothing is noted that can be found out again"
    ours, theirs = run.monitor.parts.alerts.columns(), whole.monitor.parts.alerts.columns()
    assert all(np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == "f") for name in theirs)


@pytest.mark.parametrize(("before", "after"), [("none", "builtin"), ("builtin", "none")])
def test_a_model_may_be_switched_on_or_off_between_two_runs(tmp_path: Path, before: str, after: str) -> None:
    sink = Kept()
    first = Run(tmp_path, settings(before), sink)
    first.turns(400)
    first.keeper.close(first.clock.now(), first.loop.progress)
    second = Run(tmp_path, settings(after), sink)
    second.turns(STEPS)
    windows = second.monitor.parts.ledger.windows()
    second.end()
    assert windows["due"] == sum(n for outcome, n in windows.items() if outcome != "due") > 0
    assert windows["full"] > 0
    assert windows["sentinel"] > 0
    whole = Run(tmp_path / "whole", settings(after), Kept())
    whole.end()
    assert windows["warmup"] == whole.monitor.parts.ledger.windows()["warmup"]  # what was learned goes on
