"""Packed messages of every format through a real broker: many readings a record, and dead letters byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import all_on
from test_formats import LONG, READINGS, WAYS
from test_kafka import Topic, write

from connectors.batch import SECOND, PartitionTable, StreamTable, concat
from connectors.clock import WallClock
from connectors.formats.codec import Codec
from connectors.kafka.source import KafkaSource

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("way", ["columns", "MessagePack columns", "Arrow stream", "CSV", "list of JSON objects"])
def test_packed_messages_are_read_with_their_offsets_and_bad_ones_kept_whole(
    kafka: str, topic: Topic, way: str
) -> None:
    plant, dead = topic(), topic(name="dead")
    format, good = WAYS[way]
    bad = good[: len(good) // 2] + b"\xff\x00" + good[len(good) // 2 :]
    write(kafka, plant, [{"value": value} for value in (good, bad, good)])
    table, partitions, clock = StreamTable(), PartitionTable(), WallClock()
    client = {"bootstrap.servers": kafka, "group.id": f"g.{plant}", "auto.offset.reset": "earliest"}
    codec = Codec(format, LONG, "ms", None, table)
    source = KafkaSource(client, codec, partitions, clock, topics=[plant], dead_letter=dead)
    batches: list[Any] = []
    end = clock.now() + 60 * SECOND
    while sum(batch.counts.get("records", 0) for batch in batches) < 3 and clock.now() < end:
        batches.append(source.poll(clock.now() + SECOND // 10))
    source.close()
    batch = concat(batches)
    found = [
        (table.names[slot], ts // 10**6, value)
        for slot, ts, value in zip(batch.stream, batch.ts, batch.value, strict=True)
    ]
    assert found == READINGS * 2 and batch.offset.tolist() == [0, 0, 0, 2, 2, 2]
    assert batch.counts["undecodable"] == 1
    assert [letter.value for letter in all_on(kafka, dead)] == [bad]
