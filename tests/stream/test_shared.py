"""Processes that keep their state in one topic: whatever fails, and whoever dies when, each alert is told once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monitor_feed import Kept, Plain
from test_parcel import OF_SCORES, RULES, START, STEPS, Topic, made

from connectors.batch import SECOND, Batch
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from connectors.source import RefusedTopicError, SourceError, UndecidedError
from models.contract import Scorer
from stream.app.notify import notifier_of
from stream.app.parts import Cost, monitor_of, rules_of, world_of
from stream.loop import FOREVER, Loop
from stream.settings import Settings, from_mapping
from stream.shared import Shared
from stream.telling import teller

URL = {"url": "http://127.0.0.1:1"}
OF_LOOKS = """  - {alert: Often, expr: 'count_over(score > 0.2, "20s") >= 3'}
  - {alert: Peak, expr: 'max_over("score", "12s") > 0.3 and fidelity == "full"'}
  - {alert: Age, expr: 'last_over("age", "15s") < 2 and share_over(coverage == 1, "15s") < 0.99'}
"""
SINKS = ("kafka", "lines", "receiver/people", "receiver/am")


class Killed(Exception):
    """The process dies here."""


class Brokers:
    """The state topic, the group's offsets and the alert topic: what one transaction writes. May fail when told."""

    def __init__(self) -> None:
        self.pieces: dict[str, dict[str, bytes]] = {}
        self.offsets: dict[str, int] = {}
        self.alerts: list[dict[str, Any]] = []
        self.owner: dict[str, str] = {}
        self.away, self.tries = False, 0
        self.silent = 0  # so many transactions are taken, and nobody is told
        self.denied: str | None = None  # a topic that takes no messages
        self.dies: str | None = None  # "before" or "after" the next transaction

    def read(self, partitions: Sequence[str]) -> dict[str, dict[str, bytes]]:
        if self.away:
            self.tries += 1
            raise SourceError("refused")
        return {name: dict(self.pieces[name]) for name in partitions if name in self.pieces}

    def write(
        self,
        pieces: Mapping[tuple[str, str], bytes],
        offsets: Mapping[str, int],
        member: Any,
        messages: Sequence[tuple[str, Any]] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.tries += 1
        if self.away or any(self.owner[name] != member for name in offsets):
            raise SourceError("refused")
        if any(topic == self.denied for topic, _ in messages):
            raise RefusedTopicError(str(self.denied), "not allowed")
        if self.dies == "before":
            raise Killed
        for (name, kind), data in pieces.items():
            self.pieces.setdefault(name, {})[kind] = data
        self.offsets |= offsets
        self.alerts += [dict(message) for _, message in messages]
        if self.dies == "after":
            raise Killed
        if self.silent:
            self.silent -= 1
            raise UndecidedError("no answer")

    def close(self) -> None:
        pass


class Source:
    """Reads some partitions of the topic, as a Kafka source with custody does."""

    def __init__(self, process: Process) -> None:
        self._process, self.positions = process, dict[str, int]()
        self.done = False

    def standing(self) -> tuple[str, dict[str, str]]:
        return self._process.name, dict.fromkeys(self.positions, "")

    def gain(self, name: str) -> None:
        self._process.brokers.owner[name] = self._process.name
        self.positions[name] = self._process.keeper.adopt([name]).get(name, 0)

    def lose(self, names: Sequence[str]) -> None:
        for name in names:
            del self.positions[name]
        self._process.keeper.leave(names)

    def poll(self, until: int) -> Batch:
        topic, now, world = self._process.topic, self._process.clock.now(), self._process.world
        columns: list[tuple[int, int, int]] = []
        positions, at_end = {}, []
        for name, position in self.positions.items():
            number, partition = world.partitions.number(name), int(name.split("/")[1])
            end = int(np.searchsorted(topic.at[partition], now, side="right"))
            columns += [(partition, number, row) for row in range(position, end)]
            self.positions[name] = positions[number] = end
            at_end.append(number)
        names = [topic.stream[partition][row] for partition, _, row in columns]
        slots = [world.table.slot(name, name.split("/")[0]) for name in names]
        return Batch(
            np.array(slots, np.int32),
            np.array([topic.ts[p][row] for p, _, row in columns], np.int64),
            np.array([topic.at[p][row] for p, _, row in columns], np.int64),
            np.array([topic.value[p][row] for p, _, row in columns], np.float64),
            np.array([number for _, number, _ in columns], np.int32),
            np.array([row for _, _, row in columns], np.int64),
            positions,
            tuple(at_end),
        )

    def seek(self, positions: Mapping[str, int]) -> None:
        pass

    def commit(self, positions: Mapping[str, int]) -> None:
        raise AssertionError("offsets are committed with the state")

    def close(self) -> None:
        pass


class Process:
    """One heed of the group, with a disk of its own."""

    def __init__(
        self, name: str, folder: Path, own: Settings, topic: Topic, brokers: Brokers, now: int, most: int = FOREVER,
        scorer: Scorer | None = None,
    ) -> None:  # fmt: skip
        self.name, self.topic, self.brokers, self.clock = name, topic, brokers, ReplayClock(now)
        self.world = world_of(self.clock, own)
        self.sinks = {sink: Kept(sink) for sink in SINKS}
        self.outbox, self.store = Outbox(self.sinks), Store(folder / name)
        self.monitor = monitor_of(own, self.world, rules_of(own, None), scorer, Cost((0.0, 0.0)))
        self.notifier = notifier_of(own, self.outbox)
        every = SECOND, 20 * SECOND
        rest = self.store, self.monitor, self.world.partitions, self.outbox, *every, (10_000, 64 << 20), self.notifier
        self.keeper = Shared(brokers, {"kafka": "alerts"}, name, *rest)
        assert self.keeper.restore() == {}
        self.source = Source(self)
        self.keeper.attach(self.source)
        tell = teller(self.world.table, scorer)
        self.loop = Loop(
            self.monitor, self.source, self.clock, self.world.partitions, self.keeper, tell,
            notifier=self.notifier, most=most,
        )  # fmt: skip

        self.keeper.dropping(self.loop.drop)

    def turn(self, now: int) -> None:
        self.clock.wait(now)
        self.loop.turn(now)

    def die(self) -> None:
        self.outbox.close()
        self.store.close()


class Group:
    """Processes by name, and what all that ever lived have told."""

    def __init__(self, folder: Path, topic: Topic, scorer: Scorer | None = None) -> None:
        self._folder, self._topic, self._scorer, self.brokers = folder, topic, scorer, Brokers()
        (folder / "rules.yaml").write_text(RULES + (OF_SCORES if scorer is None else OF_LOOKS))
        self._own = from_mapping(
            {
                "windows": {"size": 16, "lateness": "2s"},
                "rule_files": [str(folder / "rules.yaml")],
                "model": {"name": "none"},
                "receivers": [{"name": "people", "webhook": URL}, {"name": "am", "alertmanager": URL}],
                "route": {
                    "receiver": "people", "group_wait": "2s", "group_interval": "8s", "repeat_interval": "1h",
                    "routes": [{"matchers": "alertname=~.*", "receiver": "am", "continue": True},
                               {"matchers": "alertname=~.*", "receiver": "people"}],
                },
            }
        )  # fmt: skip
        self.lives: list[Process] = []
        self.now: dict[str, Process] = {}

    def start(self, name: str, at: int, most: int = FOREVER) -> Process:
        self.now[name] = Process(name, self._folder, self._own, self._topic, self.brokers, at, most, self._scorer)
        self.lives.append(self.now[name])
        return self.now[name]

    def start_alone(self) -> Process:
        """One that has all partitions."""
        process = self.start("a", START)
        for partition in range(len(self._topic)):
            process.source.gain(f"topic/{partition}")
        return process

    def kill(self, name: str) -> list[str]:
        process = self.now.pop(name)
        process.die()
        return list(process.source.positions)

    def turn(self, now: int) -> None:
        for name, process in list(self.now.items()):
            try:
                process.turn(now)
            except Killed:
                self.brokers.dies = None
                left = self.kill(name)
                other = self.start(name, now) if len(self.now) < 1 else next(iter(self.now.values()))
                other.clock.wait(now)
                for partition in left:
                    other.source.gain(partition)

    def end(self) -> None:
        for process in self.now.values():
            process.keeper.close(process.clock.now(), process.loop.progress)

    def sent(self, sink: str) -> list[dict[str, Any]]:
        return [message for process in self.lives for message in process.sinks[sink].messages]


def key(message: Mapping[str, Any]) -> tuple[str, str, str]:
    return message["fingerprint"], message["starts_at"], message["status"]


def people(group: Group) -> Counter[tuple[str, str, str]]:
    """What people were told of each alert."""
    told = [(a["fingerprint"], a["startsAt"], a["status"]) for n in group.sent("receiver/people") for a in n["alerts"]]
    return Counter(told)


def whole(folder: Path, topic: Topic, scorer: Scorer | None) -> Group:
    folder.mkdir()
    group = Group(folder, topic, scorer)
    group.start_alone()
    for step in range(STEPS + 20):
        group.turn(START + step * SECOND)
    group.end()
    return group


def troubled(folder: Path, topic: Topic, seed: int, scorer: Scorer | None) -> Group:
    folder.mkdir()
    group, rng = Group(folder, topic, scorer), random.Random(seed)
    group.start("a", START)
    group.start("b", START)
    for partition in range(len(topic)):
        group.now[rng.choice("ab")].source.gain(f"topic/{partition}")
    for step in range(STEPS + 20):
        now = START + step * SECOND
        happens = rng.random() if step < STEPS else 1.0
        group.brokers.away = 0.13 <= happens < 0.2
        if happens < 0.05:
            group.brokers.dies = rng.choice(["before", "after"])
        elif happens < 0.1 and len(group.now) == 2:
            giver, taker = rng.sample(sorted(group.now), 2)
            partitions = list(group.now[giver].source.positions)
            moved = rng.sample(partitions, rng.randint(0, len(partitions)))
            group.now[giver].source.lose(moved)
            group.now[taker].clock.wait(now)
            for partition in moved:
                group.now[taker].source.gain(partition)
        elif happens < 0.13 and len(group.now) < 2:
            group.start("b" if "a" in group.now else "a", now)
        elif 0.2 <= happens < 0.26:
            group.brokers.silent = rng.randint(1, 3)
        group.turn(now)
    group.brokers.dies, group.brokers.silent = None, 0
    group.end()
    return group


@pytest.mark.parametrize("scorer", [None, Plain()])
@given(seed=st.integers(0, 10_000))
@example(seed=1)
@settings(max_examples=6, deadline=None)
def test_each_alert_is_told_once_whoever_dies(
    tmp_path_factory: pytest.TempPathFactory, scorer: Scorer | None, seed: int
) -> None:
    topic = made(seed, partitions=2, groups=2, members=2)
    calm = whole(tmp_path_factory.mktemp("calm") / "x", topic, scorer)
    group = troubled(tmp_path_factory.mktemp("troubled") / "x", topic, seed, scorer)
    wanted, told = Counter(map(key, calm.brokers.alerts)), Counter(map(key, group.brokers.alerts))
    assert len(wanted) > 10
    assert told == wanted, "the topic of the same brokers has each change once"
    assert set(map(key, group.sent("lines"))) == set(map(key, calm.sent("lines"))), "others have each at least once"
    if scorer is not None:
        return  # its alerts are short: some are over before it is time to tell people of their group again
    heard, due = ({(f, s) for f, s, _ in people(each)} for each in (group, calm))
    assert heard == due, "of each alert people hear; at another moment, so perhaps only that it is over"


def test_a_partition_that_moves_in_order_tells_people_nothing_again(tmp_path: Path) -> None:
    topic = made(3, partitions=1)
    group = Group(tmp_path, topic)
    first, second = group.start("a", START), group.start("b", START)
    first.source.gain("topic/0")
    step = 0
    while not first.sinks["receiver/people"].messages or not first.monitor.firing():
        group.turn(START + step * SECOND)
        step += 1
    before = people(group)
    first.keeper.commit(first.clock.now(), [], first.loop.progress, urgent=True)
    first.source.lose(["topic/0"])
    second.clock.wait(first.clock.now())
    second.source.gain("topic/0")
    assert second.monitor.firing()
    for later in range(4):
        group.turn(START + (step + later) * SECOND)
    assert all(count == 1 for told, count in people(group).items() if told in before and told[2] == "firing")
    group.end()


def test_nothing_is_sent_while_the_state_topic_takes_nothing(tmp_path: Path) -> None:
    topic = made(1, partitions=1)
    group = Group(tmp_path, topic)
    process = group.start_alone()
    for step in range(STEPS):
        group.brokers.away = step > 2
        group.turn(START + step * SECOND)
    assert not any(group.sent(sink) for sink in SINKS)
    assert process.keeper.problem == "refused"
    group.brokers.away = False
    for step in range(STEPS, STEPS + 10):
        group.turn(START + step * SECOND)
    assert process.keeper.problem is None
    group.end()
    assert Counter(map(key, group.sent("lines"))) == Counter(map(key, group.brokers.alerts))
    assert len(group.brokers.alerts) > 10


def test_a_transaction_that_was_taken_without_an_answer_is_not_written_again(tmp_path: Path) -> None:
    """The brokers go away in the middle of it, often; once they are back, what stands there tells how it ended."""
    topic = made(1, partitions=2)
    calm = whole(tmp_path / "calm", topic, None)
    (tmp_path / "x").mkdir()
    group = Group(tmp_path / "x", topic)
    process = group.start_alone()
    for step in range(STEPS + 20):
        group.brokers.away = step % 7 in (3, 4)
        group.brokers.silent = int(step % 7 == 2)
        group.turn(START + step * SECOND)
    assert process.keeper.problem is None
    group.end()
    assert Counter(map(key, group.brokers.alerts)) == Counter(map(key, calm.brokers.alerts))
    assert Counter(map(key, group.sent("lines"))) == Counter(map(key, calm.sent("lines")))
    assert process.outbox.counts()["kafka"].delivered == len(group.brokers.alerts)


def test_an_alert_topic_that_takes_nothing_holds_up_neither_the_state_nor_the_other_sinks(tmp_path: Path) -> None:
    topic = made(1, partitions=1)
    calm = whole(tmp_path / "calm", topic, None)
    (tmp_path / "x").mkdir()
    group = Group(tmp_path / "x", topic)
    process = group.start_alone()
    for step in range(STEPS + 20):
        group.brokers.denied = "alerts" if 3 < step < STEPS // 2 else None
        group.turn(START + step * SECOND)
        assert process.keeper.problem is None
    group.end()
    assert group.brokers.offsets == calm.brokers.offsets
    assert list(map(key, group.sent("lines"))) == list(map(key, calm.sent("lines")))
    aside = list(map(key, group.sent("kafka")))  # by the outbox, which goes on trying
    told = Counter(map(key, group.brokers.alerts))
    assert aside and told and Counter(aside) + told == Counter(map(key, calm.brokers.alerts))
    assert process.outbox.counts()["kafka"].delivered == sum(told.values()) + len(aside)


def test_an_end_while_the_brokers_are_away_tries_once_and_tells_nothing_that_is_not_kept(tmp_path: Path) -> None:
    group = Group(tmp_path, made(1, partitions=3))
    process = group.start_alone()
    for step in range(STEPS):
        group.brokers.away = step > 2
        group.turn(START + step * SECOND)
    assert process.monitor.firing() or process.keeper.problem
    tries = group.brokers.tries
    group.end()
    assert group.brokers.tries == tries + 1
    assert not any(group.sent(sink) for sink in SINKS)


def test_a_process_without_partitions_still_tells_of_itself(tmp_path: Path) -> None:
    group = Group(tmp_path, made(1, partitions=1))
    process = group.start("a", START)
    process.keeper.commit(START, [{"fingerprint": "f", "labels": {}}], process.loop.progress, urgent=True)
    group.end()
    assert [message["fingerprint"] for message in group.sent("kafka") + group.sent("lines")] == ["f", "f"]
