"""Partitions that move between processes, at any moment: together they tell what one undisturbed process tells."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monitor_feed import SIZE, START, Plain

from connectors.batch import SECOND, Batch
from connectors.clock import ReplayClock
from connectors.keeping.store import packed, unpacked
from models.contract import Scorer
from stream import parcel
from stream.app.parts import Cost, monitor_of, rules_of, world_of
from stream.ledger import OUTCOMES
from stream.settings import Settings, from_mapping

STEPS = 260
RULES = """
groups:
- name: all
  rules:
  - {alert: Strange, expr: score > 1, for: 2s}
  - {alert: Far, expr: 'abs(value - avg_over("value", "20s")) > 3 * stddev_over("value", "20s")'}
  - {alert: High, expr: 'max_over("value", "8s") > 110 and count_over(value > 102, "30s") >= 2'}
  - {alert: Earlier, expr: 'value - offset("value", "25s") > 4'}
  - {alert: Together, expr: 'group_max(score) > 1.2'}
  - {alert: Gone, expr: 'absent_for("value", "3s")'}
"""
OF_SCORES = """  - {alert: Often, expr: 'count_over(score > 0.6, "20s") >= 4'}
  - {alert: Peak, expr: 'score < 0.5 * max_over("score", "12s") and max_over("score", "12s") > 1'}
"""


@dataclass
class Topic:
    """What partitions hold: columns of records, in the order in which they can be read."""

    stream: list[list[str]]
    ts: list[np.ndarray[Any, Any]]
    at: list[np.ndarray[Any, Any]]  # when it could be read
    value: list[np.ndarray[Any, Any]]

    def __len__(self) -> int:
        return len(self.ts)


def made(seed: int, partitions: int = 3, groups: int = 2, members: int = 3) -> Topic:
    """Quiet streams with spikes, shifts and gaps; readings a little late and out of order."""
    rng = np.random.default_rng(seed)
    topic = Topic([], [], [], [])
    for partition in range(partitions):
        names = [f"p{partition}g{g}/s{m}" for g in range(groups) for m in range(members)]
        value = 100 + rng.normal(size=(STEPS, len(names)))
        for row in rng.integers(120, STEPS - 10, 6):
            value[row : row + int(rng.integers(1, 6)), rng.integers(len(names))] += 12
        value[200:215, int(rng.integers(len(names)))] = np.nan
        rows, columns = np.nonzero(~np.isnan(value) & (rng.random(value.shape) > 0.02))
        ts = START + rows * SECOND + rng.integers(0, SECOND, rows.size)
        delay = rng.integers(0, 900, rows.size) * 1_000_000
        order = np.argsort(ts + delay, kind="stable")
        topic.stream.append([names[c] for c in columns[order].tolist()])
        topic.ts.append(ts[order])
        topic.at.append((ts + delay)[order])
        topic.value.append(value[rows, columns][order])
    return topic


@dataclass
class Committed:
    """What survives of a partition: its pieces, as they would lie in a topic."""

    large: bytes | None = None
    small: bytes | None = None


@dataclass
class World:
    """What all processes see: the topic, the committed state, and what was told."""

    topic: Topic
    kept: dict[int, Committed] = field(default_factory=dict)
    told: set[tuple[str, str, int]] = field(default_factory=set)
    seen: dict[tuple[str, int], str] = field(default_factory=dict)


class Process:
    """One heed, without a source of its own: it is handed what its partitions hold."""

    def __init__(self, world: World, settings: Settings, scorer: Scorer | None, now: int) -> None:
        self.common, self.clock = world, ReplayClock(now)
        self.world = world_of(self.clock, settings)
        self.monitor = monitor_of(settings, self.world, rules_of(settings, None), scorer, Cost((0.0, 0.0)))
        self.monitor.observers.append(self._observe)
        self.positions: dict[int, int] = {}

    def _observe(self, verdicts: Any) -> None:
        names = self.world.table.names
        for slot, code in zip(verdicts.tick.slots.tolist(), verdicts.outcome.tolist(), strict=True):
            key = names[slot], verdicts.tick.k
            assert self.common.seen.setdefault(key, OUTCOMES[code]) == OUTCOMES[code], key

    def adopt(self, partition: int) -> None:
        kept, name = self.common.kept.get(partition), f"topic/{partition}"
        self.positions[partition] = 0
        if kept is not None and kept.small is not None:
            first = None if kept.large is None else unpacked(kept.large, name)
            pieces = first, unpacked(kept.small, name)
            now = self.clock.now()
            self.positions[partition] = parcel.put(self.monitor, self.world.partitions, name, pieces, now)
        else:
            parcel.begin(self.monitor, self.world.partitions.number(name), self.clock.now())

    def commit(self, partitions: Sequence[int], whole: bool) -> None:
        for partition in partitions:
            kept = self.common.kept.setdefault(partition, Committed())
            number, at = self.world.partitions.number(f"topic/{partition}"), self.positions[partition]
            if whole:
                kept.large = packed(*parcel.large(self.monitor, number, at))
            kept.small = packed(*parcel.small(self.monitor, self.world.partitions, number, 0, at))

    def leave(self, partition: int) -> None:
        del self.positions[partition]
        parcel.leave_partition(self.monitor, self.world.partitions.number(f"topic/{partition}"))

    def turn(self, now: int, most: int) -> None:
        self.clock.wait(now)
        turn = self.monitor.step(self._poll(now, most), self.clock.now())
        told = {(c.change.fingerprint, c.change.status, c.change.starts_at) for c in turn.told}
        self.common.told |= told
        if told:
            self.commit(list(self.positions), False)

    def _poll(self, now: int, most: int) -> Batch:
        topic, parts, numbers = self.common.topic, [], self.world.partitions
        at_end, positions = [], {}
        for partition, position in self.positions.items():
            number = numbers.number(f"topic/{partition}")
            end = int(np.searchsorted(topic.at[partition], now, side="right"))
            rows = np.arange(position, min(end, position + most))
            parts.append((partition, number, rows))
            self.positions[partition] = positions[number] = position + rows.size
            if position + rows.size == end:
                at_end.append(number)
        names = [topic.stream[p][r] for p, _, rows in parts for r in rows.tolist()]
        slots = [self.world.table.slot(name, name.split("/")[0]) for name in names]
        column = lambda of, dtype: np.concatenate(  # noqa: E731
            [np.empty(0, dtype), *(of(p, number, rows) for p, number, rows in parts)]
        ).astype(dtype)
        return Batch(
            np.array(slots, np.int32),
            column(lambda p, number, rows: topic.ts[p][rows], np.int64),
            column(lambda p, number, rows: topic.at[p][rows], np.int64),
            column(lambda p, number, rows: topic.value[p][rows], np.float64),
            column(lambda p, number, rows: np.full(rows.size, number), np.int32),
            column(lambda p, number, rows: rows, np.int64),
            positions,
            tuple(at_end),
        )

    def of_streams(self, names: Mapping[str, int]) -> dict[str, Any]:
        """What is known of streams, in the order of their names."""
        parts = self.monitor.parts
        slots = np.array([names[name] for name in sorted(names)], np.int32)
        found: dict[str, Any] = {"ledger": parts.ledger.take(slots)}
        found |= parts.sentinel.take_out(slots)
        found |= {"window": np.stack([parts.windows.valid[slots], parts.windows.last[slots]])}
        return found


def config(tmp: Path, scorer: Scorer | None) -> Settings:
    (tmp / "rules.yaml").write_text(RULES + (OF_SCORES if scorer is None else ""))
    windows = {"size": SIZE, "lateness": "2s"}
    return from_mapping({"windows": windows, "rule_files": [str(tmp / "rules.yaml")], "model": {"name": "none"}})


def end(processes: Sequence[Process]) -> None:
    now = START + (STEPS + 3) * SECOND
    for process in processes:
        for _ in range(200):
            process.turn(now, 500)


def undisturbed(topic: Topic, own: Settings, scorer: Scorer | None) -> tuple[World, Process]:
    world = World(topic)
    process = Process(world, own, scorer, START)
    for partition in range(len(topic)):
        process.adopt(partition)
    for step in range(STEPS):
        process.turn(START + step * SECOND, 500)
    end([process])
    return world, process


def disturbed(
    topic: Topic, own: Settings, scorer: Scorer | None, seed: int, rate: float
) -> tuple[World, list[Process]]:
    """Three processes, among which partitions move in order, or as after kill -9."""
    world, rng = World(topic), random.Random(seed)
    processes = [Process(world, own, scorer, START) for _ in range(3)]
    for partition in range(len(topic)):
        processes[partition % 2].adopt(partition)
    for step in range(STEPS):
        now = START + step * SECOND
        if rng.random() < rate:
            move(world, own, scorer, processes, rng, now)
        for process in processes:
            if rng.random() < 0.9:  # else it is held up
                process.turn(now, rng.choice([20, 60, 500]))
            if rng.random() < 0.3:
                process.commit(list(process.positions), rng.random() < 0.2)
    end(processes)
    return world, processes


def move(
    world: World, own: Settings, scorer: Scorer | None, processes: list[Process], rng: random.Random, now: int
) -> None:
    giver = rng.randrange(3)
    taker = rng.choice([i for i in range(3) if i != giver])
    partitions = list(processes[giver].positions)
    if rng.random() < 0.4:  # kill -9, and another one starts
        processes[giver] = Process(world, own, scorer, now)
    else:
        partitions = rng.sample(partitions, rng.randint(0, len(partitions)))
        if rng.random() < 0.5:
            processes[giver].commit(partitions, True)
        for partition in partitions:
            processes[giver].leave(partition)
    processes[taker].clock.wait(now)
    for partition in partitions:
        processes[rng.choice([giver, taker])].adopt(partition)


@pytest.mark.parametrize("scorer", [None, Plain()])
@given(seed=st.integers(0, 10_000))
@example(seed=1)
@settings(max_examples=12, deadline=None)
def test_partitions_that_move_tell_and_count_the_same(
    tmp_path_factory: pytest.TempPathFactory, scorer: Scorer | None, seed: int
) -> None:
    own = config(tmp_path_factory.mktemp("rules"), scorer)
    topic = made(seed)
    whole, process = undisturbed(topic, own, scorer)
    world, processes = disturbed(topic, own, scorer, seed, 0.08)

    assert len(whole.told) > 20
    assert world.seen == whole.seen
    assert world.told == whole.told
    expected = process.of_streams(process.world.table.slot_of)
    names = sorted(name for p in processes for name in p.world.table.slot_of)
    assert names == sorted(process.world.table.slot_of), "every stream is in one process"
    for each in processes:
        mine = each.world.table.slot_of
        found = each.of_streams(mine)
        rows = [names.index(name) for name in sorted(mine)]
        for key, column in found.items():
            axis = 2 if key == "past" else 1
            if key not in ("week", "week_mean", "week_count"):
                np.testing.assert_array_equal(column, expected[key].take(rows, axis=axis), err_msg=key)
