"""A compacted alert topic: what is left of each alert is its last message."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Broker, all_on, require_java
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.kafka.sink import KafkaSink

pytestmark = pytest.mark.kafka
COMPACT = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
COMPACT["max.compaction.lag.ms"] = "500"


def changes(turn: int) -> list[dict[str, object]]:
    at = f"2026-01-01T00:00:{turn:02d}Z"
    return [{"fingerprint": name, "status": "firing", "starts_at": at, "turn": turn} for name in ("a", "b", "c")]


def test_the_broker_knows_the_sink_as_an_idempotent_producer(kafka: str, topic: Callable[..., str]) -> None:
    alerts = topic(1, "alerts")
    sink = KafkaSink(alerts, {"bootstrap.servers": kafka})
    sink.send(changes(0))
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    found = admin.describe_producers([TopicPartition(alerts, 0)])
    admin.close()
    sink.close()
    (producer,) = found[TopicPartition(alerts, 0)].active_producers
    assert producer.producer_id >= 0 and producer.last_sequence == 2


def test_a_topic_that_takes_less_than_a_batch_gets_each_message_once_and_in_order(
    kafka: str, topic: Callable[..., str]
) -> None:
    alerts = topic(1, "alerts", **{"max.message.bytes": "3000"})
    many = [{"fingerprint": f"f{n}", "text": f"{n:0600d}"} for n in range(300)]
    sink = KafkaSink(alerts, {"bootstrap.servers": kafka})
    sink.send(many)
    sink.close()
    assert [json.loads(record.value) for record in all_on(kafka, alerts)] == many


@pytest.mark.slow
def test_compaction_leaves_the_last_message_of_each_alert(tmp_path: Path) -> None:
    require_java()
    broker = Broker(tmp_path / "kafka", "log.cleaner.backoff.ms=300\nlog.retention.check.interval.ms=300\n")
    try:
        broker.start()
        admin = KafkaAdminClient(bootstrap_servers=broker.servers)
        options = {"num_partitions": 1, "replication_factor": 1, "configs": COMPACT}
        admin.create_topics({"alerts": options}, wait_for_metadata=True)
        admin.close()
        sink = KafkaSink("alerts", {"bootstrap.servers": broker.servers})
        for turn in range(6):
            sink.send(changes(turn))
            time.sleep(0.3)  # into a segment of its own
        end = time.monotonic() + 120
        left = all_on(broker.servers, "alerts")
        while len(left) > 6 and time.monotonic() < end:
            sink.send([{"fingerprint": "roll", "turn": 0}])  # the newest segment is never compacted
            time.sleep(1)
            left = [record for record in all_on(broker.servers, "alerts") if record.key != b"roll"]
        sink.close()
    finally:
        broker.stop()
    last = {record.key: json.loads(record.value)["turn"] for record in left}
    assert last == {b"a": 5, b"b": 5, b"c": 5}
    assert len(left) <= 6
