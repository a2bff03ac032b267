"""A partition that waits for its dead letters to be written: event time waits for it, but not for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient

from connectors.batch import SECOND
from connectors.clock import WallClock
from connectors.formats.codec import Codec
from connectors.kafka import dead_letters as kafka_dead_letters
from connectors.kafka import partitions as kafka_partitions
from connectors.kafka import source as kafka_source
from connectors.kafka.source import KafkaSource
from stream.app.parts import Cost, monitor_of, world_of
from stream.monitor import Monitor
from stream.settings import load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
Topic = Callable[..., str]

START_MS = 1_700_000_000_000
IDLE_S = 3
EACH = 10  # readings of each of two partitions, a second apart; the first has a broken message in its middle


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "RETRY", SECOND // 4)
    monkeypatch.setattr(kafka_dead_letters, "_WAIT_S", 0.3)


class Run:
    """A source and a monitor, turned by the test."""

    def __init__(self, servers: str, plant: str, dead: str, folder: Path) -> None:
        config = folder / "heed.yaml"
        windows = {"idle": f"{IDLE_S}s", "lateness": "500ms"}
        given = {"sources": [{"type": "stdin"}], "streams": [{"match": "*", "step": "1s"}], "windows": windows}
        config.write_text(json.dumps({**given, "model": {"name": "none"}}))
        settings = load(config)
        self.world = world_of(WallClock(), settings)
        self.monitor: Monitor = monitor_of(settings, self.world, [], None, Cost())
        client = {"bootstrap.servers": servers, "group.id": f"g.{plant}", "auto.offset.reset": "earliest"}
        codec = Codec("json", None, "ms", None, self.world.table)
        clock, partitions = self.world.clock, self.world.partitions
        self.source = KafkaSource(client, codec, partitions, clock, topics=[plant], dead_letter=dead)

    def until(self, enough: Callable[[], bool], seconds: float = 40) -> None:
        end = self.world.clock.now() + round(seconds * SECOND)
        while not enough():
            assert self.world.clock.now() < end, f"{self.counts}; {self.source.problem}"
            batch = self.source.poll(self.world.clock.now() + SECOND // 20)
            self.monitor.step(batch, self.world.clock.now())

    def turn_for(self, seconds: float) -> None:
        end = self.world.clock.now() + round(seconds * SECOND)
        self.until(lambda: self.world.clock.now() > end)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.monitor.parts.windows.counts)

    @property
    def come_to_s(self) -> float:
        """How far event time has come, from the first reading on."""
        return self.monitor.parts.windows.marks.now / SECOND - START_MS / 1000


@contextmanager
def running(servers: str, topic: Topic, folder: Path) -> Iterator[tuple[Run, str]]:
    """With a dead-letter topic that takes nothing; turned until all is read that can be."""
    keep = {"retention.ms": "-1"}
    plant, dead = topic(2, **keep), topic(1, "dead", **{"max.message.bytes": "20"}, **keep)
    producer = KafkaProducer(bootstrap_servers=servers)
    for at in range(EACH):
        for part in (0, 1):
            reading = {"stream": f"press{part}/temp", "ts": START_MS + at * 1000, "value": at}
            producer.send(plant, json.dumps(reading).encode(), partition=part)
        if at == EACH // 2 - 1:
            producer.send(plant, b"broken", partition=0)
    producer.flush()
    producer.close()
    run = Run(servers, plant, dead, folder)
    try:
        run.until(lambda: run.counts["readings"] == EACH + EACH // 2)
        yield run, dead
    finally:
        run.source.close()


def allow(servers: str, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.alter_configs([ConfigResource("topic", topic, {"max.message.bytes": "100000", "retention.ms": "-1"})])
    admin.close()


def test_event_time_waits_for_a_partition_whose_dead_letters_cannot_be_written(
    kafka: str, topic: Topic, tmp_path: Path
) -> None:
    with running(kafka, topic, tmp_path) as (run, dead):
        run.turn_for(4 * IDLE_S)
        assert run.come_to_s < EACH // 2
        assert "event time waits for" in str(run.source.problem)
        allow(kafka, dead)
        run.until(lambda: run.counts["readings"] == 2 * EACH)
        assert run.counts["late"] == 0
        run.until(lambda: run.source.problem is None)


def test_a_partition_that_is_held_up_for_too_long_is_left_behind_and_that_is_told(
    kafka: str, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_partitions, "HOLD", SECOND)
    with running(kafka, topic, tmp_path) as (run, dead):
        run.until(lambda: run.come_to_s >= EACH)
        assert "no longer waits for" in str(run.source.problem)
        allow(kafka, dead)
        run.until(lambda: run.counts["readings"] == 2 * EACH)
        assert run.counts["late"] == EACH // 2
