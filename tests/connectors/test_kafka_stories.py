"""What goes wrong at brokers while heed reads: each has one outcome, told in docs/operating.md."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from conftest import all_on, wait_for
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from test_kafka import fill, message, reading, write

from connectors.batch import SECOND
from connectors.kafka import source as kafka_source
from connectors.kafka.sink import KafkaSink

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]


def test_a_topic_that_is_deleted_is_told_and_read_again_when_it_is_back(
    kafka: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "UNASSIGNED", SECOND)
    plant = topic()
    fill(kafka, plant, 5)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    with reading(kafka, plant, client={"metadata.max.age.ms": 500}) as reader:
        reader.readings(5)
        admin.delete_topics([plant])
        reader.until(lambda _: plant in str(reader.source.problem))
        assert len(reader.poll(0.5)) == 0
        admin.create_topics({plant: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        fill(kafka, plant, 3)
        assert reader.readings(3).offset.tolist() == [0, 1, 2]
        reader.until(lambda _: reader.source.problem is None)
    admin.close()


def test_a_partition_that_is_added_is_read_from_its_beginning(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 2)
    with reading(kafka, plant, client={"metadata.max.age.ms": 500, "auto.offset.reset": "latest"}) as reader:
        reader.until(lambda batches: batches and batches[-1].at_end)
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        admin.create_partitions({plant: 2})
        wait_for(lambda: len(admin.describe_topics([plant])[0]["partitions"]) == 2)
        admin.close()
        fill(kafka, plant, 4, partition=1)
        assert reader.readings(4).offset.tolist() == [0, 1, 2, 3]
        assert f"{plant}/1" in reader.partitions.names


def test_records_that_retention_takes_away_under_the_reader_are_counted(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 10)
    with reading(kafka, plant, client={"max.poll.records": 10}) as reader:
        reader.readings(10)
        for part in reader.source._parts():  # as if it had been held up for long
            part.waits.add("held up by the test")
        reader.poll(0.1)
        fill(kafka, plant, 50)
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        admin.delete_records({TopicPartition(plant, 0): 40})
        admin.close()
        for part in reader.source._parts():
            part.waits.clear()
        batch = reader.readings(20)
        assert batch.offset.tolist() == list(range(40, 60))
        assert batch.counts["lost"] == 30


def test_a_message_larger_than_a_fetch_comes_all_the_same(kafka: str, topic: Topic) -> None:
    plant = topic(1, "large", **{"max.message.bytes": "4000000"})
    padded = message(1)[:-1] + b', "pad": "' + b"y" * 900_000 + b'"}'
    write(kafka, plant, [{"value": value} for value in (message(0), padded, message(2))], max_request_size=4 << 20)
    with reading(kafka, plant, client={"max.partition.fetch.bytes": 10_000, "fetch.max.bytes": 10_000}) as reader:
        assert reader.readings(3).offset.tolist() == [0, 1, 2]


def test_an_alert_too_large_for_its_topic_goes_shortened_and_holds_nobody_up(kafka: str, topic: Topic) -> None:
    alerts = topic(1, "alerts", **{"max.message.bytes": "2000"})
    sink = KafkaSink(alerts, {"bootstrap.servers": kafka})
    large = {"fingerprint": "f00d", "status": "firing", "starts_at": "t", "annotations": {"x": "y" * 5000}}
    huge = {"fingerprint": "bad", "status": "firing", "starts_at": "t", "labels": {"x": "y" * 2_000_000}}
    sink.send([{"fingerprint": "a"}, large, {"fingerprint": "b"}, huge])
    sink.send([{"fingerprint": "c"}])
    sink.close()
    records = all_on(kafka, alerts)  # at least once: what came along with the large one may come again
    found = {record.key: record for record in records}
    assert list(found) == [b"a", b"f00d", b"b", b"bad", b"c"]
    for record, whole in ((found[b"f00d"], large), (found[b"bad"], huge)):
        told = json.loads(record.value)
        assert told == {name: whole[name] for name in ("fingerprint", "status", "starts_at")}
        assert dict(record.headers)["heed.truncated"] == str(len(msgspec.json.encode(whole))).encode()
    assert "heed.truncated" not in dict(found[b"b"].headers)
