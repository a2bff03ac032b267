"""Where a partition ends is known from an answer that may be old by the time its records are handed out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest
from conftest import meanwhile, wait_for
from kafka import KafkaProducer
from test_kafka import Reader, fill, reading

from connectors.batch import SECOND
from stream.watermark import Watermarks

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
LIBRARIES = ("kafka-python", "confluent")
READING = {"machine": "press1", "sensor": "temp", "value": 1.0}
LATENESS, TURN_S, TURNS = SECOND, 2, 4


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_written_since_the_last_answer_keeps_a_partition_from_its_end(
    kafka: str, topic: Topic, library: str
) -> None:
    """A slow turn, while an answer of the brokers waits to be taken in: event time would close windows over it."""
    plant = topic(2)
    for partition in (0, 1):
        fill(kafka, plant, 20, partition)
    with reading(kafka, plant, library=library, client={"max.poll.records": 10}) as reader:
        read = len(reader.readings(1))
        for partition in (0, 1):
            fill(kafka, plant, 5, partition)
        time.sleep(2)  # the turn
        while read < 50:
            batch = reader.poll()
            read += len(batch)
            ends = {reader.partitions.number(f"{plant}/{at}") for at in (0, 1)}
            for number in ends.intersection(batch.at_end):
                assert reader.source._parts()[number].position == 25, reader.source._parts()
        reader.until(lambda batches: batches and len(batches[-1].at_end) == 2, 10)


@contextmanager
def producing(servers: str, topic: str) -> Iterator[None]:
    """Somebody writes to three partitions all the time, each reading with the time at which it is written."""

    def write() -> None:
        for partition in range(3):
            reading = {**READING, "ts": time.time_ns() // 1_000_000}
            producer.send(topic, json.dumps(reading).encode(), partition=partition)

    with closing(KafkaProducer(bootstrap_servers=servers, linger_ms=0)) as producer:
        with meanwhile(write, 0.02):
            yield
        producer.flush(60)


@pytest.mark.parametrize("library", LIBRARIES)
def test_turns_that_take_longer_than_lateness_make_no_reading_late(kafka: str, topic: Topic, library: str) -> None:
    plant = topic(3)
    marks = Watermarks(LATENESS, 30 * SECOND)
    late = read = 0

    def turn(reader: Reader) -> int:
        nonlocal late, read
        batch, now = reader.poll(0), reader.clock.now()
        late += int(np.count_nonzero(batch.ts < marks.now))
        read += len(batch)
        marks.observe(batch, np.ones(len(batch), bool), now)
        marks.advance(now)
        return len(batch)

    with reading(kafka, plant, library=library) as reader:
        with producing(kafka, plant):
            wait_for(lambda: turn(reader) or np.count_nonzero(marks.columns()["high"] > 0) == 3)
            for _ in range(TURNS):
                while turn(reader):
                    pass  # until there is nothing: the answer to what was asked then comes in the next turn
                time.sleep(TURN_S)
        end = reader.clock.now()
        wait_for(lambda: turn(reader) or marks.now > end)
    assert read > 3 * TURNS * TURN_S * 20
    assert late == 0
