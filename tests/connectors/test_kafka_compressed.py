"""Every compression, by whoever compresses, through a real broker to either client."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import Producer
from conftest import wait_for
from kafka.admin import ConfigResource, KafkaAdminClient
from test_kafka import message, reading, write

from connectors.kafka.source import Library

pytestmark = pytest.mark.kafka
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ALONE, TOGETHER = 3, 400  # records each in a batch of its own, records in batches of some hundred
EACH = ALONE + TOGETHER
Write = Callable[[str, str, str, Sequence[bytes]], None]  # servers, topic, codec, values of one batch


def by_kafka_python(servers: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    settings = {"compression_type": None if codec == "none" else codec, "batch_size": 1 << 20}
    write(servers, topic, [{"value": value} for value in values], **settings)


def by_librdkafka(servers: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 50})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0


def by_the_broker(servers: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    """Which packs anew, in Java, what comes in another way than its topic says."""
    name = "uncompressed" if codec == "none" else codec
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.alter_configs([ConfigResource("topic", topic, {"compression.type": name})])
    wait_for(lambda: _compression(admin, topic) == name)
    admin.close()
    by_kafka_python(servers, topic, "gzip" if codec == "none" else "none", values)


def _compression(admin: KafkaAdminClient, topic: str) -> object:
    told = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")["topic"][topic]
    return told["compression.type"]["value"]


WRITERS: tuple[Write, ...] = (by_kafka_python, by_librdkafka, by_the_broker)


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_compressed_is_read_whatever_wrote_it_and_whatever_reads(
    codec: str, kafka: str, topic: Callable[..., str]
) -> None:
    plant = topic()
    for number, written in enumerate(WRITERS):
        values = [message(number * EACH + at) for at in range(EACH)]
        for value in values[:ALONE]:
            written(kafka, plant, codec, [value])
        written(kafka, plant, codec, values[ALONE:])
    libraries: tuple[Library, ...] = ("kafka-python", "confluent")
    for library in libraries:
        with reading(kafka, plant, f"{plant}.{library}", library=library) as reader:
            batch = reader.readings(EACH * len(WRITERS))
            assert batch.offset.tolist() == list(range(EACH * len(WRITERS)))
            assert batch.value.tolist() == [at / 8 for at in range(EACH * len(WRITERS))]
            assert not batch.counts.get("unpacked_singly") and reader.source.remark is None
