"""The benchmarks through Kafka run against a real broker and say what they promise; how fast it is, no test asserts."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import all_on, wait_for
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from benchmarks import broker, consuming, kafka, latency, sharing

pytestmark = pytest.mark.kafka
STREAMS, STEPS = 32, 20


@pytest.mark.parametrize("form", broker.FORMS)
def test_every_kind_of_message_holds_the_same_readings(form: str) -> None:
    names = [(f"m{at // 4}", f"s{at % 4}") for at in range(10)]
    encoded = list(broker._messages(form, names, 7_000, [at / 2 for at in range(10)]))
    messages = [_arrow_columns(message) if form == "arrow" else json.loads(message) for message in encoded]
    assert len(messages) == (10 if form == "single" else 1)
    if form in ("columns", "arrow"):
        (message,) = messages
        rows = list(zip(message["machine"], message["sensor"], message["value"], strict=True))
    else:
        readings = messages if form == "single" else messages[0]
        rows = [(reading["machine"], reading["sensor"], reading["value"]) for reading in readings]
    assert rows == [(*name, at / 2) for at, name in enumerate(names)]


def _arrow_columns(message: bytes) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = pa.ipc.open_stream(message).read_all().to_pydict()
    return columns


@pytest.mark.parametrize("form", broker.FORMS)
@pytest.mark.parametrize("way", ["kafka-python", "confluent"])
def test_heed_reads_all_that_was_written(way: str, form: str, kafka: str) -> None:
    topic, alerts = broker.new_topic(kafka, form), broker.new_topic(kafka, "alerts")
    assert broker.measure(kafka, topic, form, STREAMS, STEPS)["readings"] == STREAMS * STEPS
    found = consuming.measure(kafka, topic, way, STREAMS * STEPS, alerts, form)
    assert found["readings_per_second"] >= 0 and found["late"] == 0


def test_the_naive_peer_reads_the_same_topic(kafka: str) -> None:
    topic = broker.new_topic(kafka, "single")
    broker.measure(kafka, topic, "single", STREAMS, STEPS)
    found = consuming.measure(kafka, topic, "naive", STREAMS * STEPS, broker.new_topic(kafka, "alerts"))
    assert found["readings_per_second"] >= 0


def test_without_a_broker_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEED_TEST_KAFKA", raising=False)
    monkeypatch.setattr(broker.shutil, "which", lambda name: None)
    for found in (kafka.figures(8, 60), latency.figures(), sharing.figures(8, 60)):
        assert found["found"] == [] and "java" in found["skipped"][0]


def test_a_peer_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_BENCH_QUIX", "/no/such/python")
    skipped: list[str] = []
    assert kafka._quix("", "", "", 1, skipped) == [] and "HEED_BENCH_QUIX" in skipped[0]


def test_figures_are_told_beside_what_they_aim_at() -> None:
    run: dict[str, Any] = {"client": "kafka-python", "form": "single", "readings_per_second": 10, "by_the_wall": 9}
    run["rounds"] = [10.5, 11, 12]
    told = "\n".join(kafka.lines({"found": [{**run, "over_naive": 11}], "peers": [], "skipped": ["x: y"]}))
    assert "aim 10: met" in told and "skipped: x: y" in told
    shared = {"form": "single", "one": 1_000, "workers": [900, 800], "cpu_over_one": 1.18, "rounds": [1.18]}
    assert "1.18 times" in (line := next(sharing.lines({"found": [shared], "skipped": []}))) and "MISSED" in line
    delays = {"to": "topic", "client": "confluent", "alerts": 3, "p50_ms": 5, "p99_ms": 101, "max_ms": 200}
    assert "MISSED" in next(latency.lines({"found": [delays], "skipped": []}))


def test_a_ratio_is_the_middle_one_of_all_rounds() -> None:
    def rate(n: int) -> dict[str, Any]:
        return {"readings_per_second": n, "by_the_wall": 2 * n, "late": n - 90}

    pairs = [(rate(10), rate(90)), (rate(20), rate(220)), (rate(10), rate(400))]
    found = kafka._compared({"way": "confluent", "form": "columns"}, pairs)
    assert (found["over_naive"], found["rounds"]) == (11.0, [9.0, 11.0, 40.0])
    assert (found["readings_per_second"], found["by_the_wall"], found["late"]) == (220, 440, 310)


def test_readings_of_a_topic_are_dealt_out_to_its_partitions_by_whole_groups(kafka: str) -> None:
    topic = broker.new_topic(kafka, "two", 2)
    assert broker.measure(kafka, topic, "single", STREAMS, STEPS, 2)["readings"] == STREAMS * STEPS
    machines: dict[str, set[int]] = {}
    for record in all_on(kafka, topic):
        machines.setdefault(json.loads(record.value)["machine"], set()).add(record.partition)
    assert machines == {"m0": {0}, "m1": {1}}


def test_two_workers_read_a_partition_each(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_TEST_KAFKA", kafka)
    monkeypatch.setattr(sharing, "GROWN", 10)
    monkeypatch.setattr(sharing, "_FORMS", ("columns",))
    monkeypatch.setattr(sharing, "ROUNDS", 2)
    (found,) = sharing.figures(STREAMS, STEPS)["found"]
    assert len(found["workers"]) == 2 and len(found["rounds"]) == 2
    assert found["cpu_over_one"] == min(found["rounds"]) > 0


def test_a_daemon_that_says_much_is_not_held_up_by_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talker = tmp_path / "talker"
    talker.write_text(f"#!/bin/sh\nhead -c 200000 /dev/zero >&2\ntouch {tmp_path}/said\nexec sleep 60\n")
    talker.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(talker))
    with latency._daemon(tmp_path / "heed.yaml") as log:
        wait_for((tmp_path / "said").exists, 60)
        assert log.stat().st_size == 200_000


def is_read(servers: str, group: str) -> bool:
    """Whether a group's members have been told their partitions."""
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        try:
            return bool(admin.describe_groups([group])[group]["group_state"] == "Stable")
        except KafkaError:  # no coordinator as yet
            return False


@pytest.mark.slow
def test_alerts_arrive_and_their_delay_is_told(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_LEAD_S", 4)
    monkeypatch.setattr(latency, "_END_S", 3)
    send = latency._send

    def once_it_reads(servers: str, topic: str, seconds: int) -> None:
        wait_for(lambda: is_read(servers, topic), 120)
        time.sleep(2)  # in which it finds the end of the topic
        send(servers, topic, seconds)

    monkeypatch.setattr(latency, "_send", once_it_reads)
    for found in latency.measure(kafka, "kafka-python", seconds=10):
        assert found["alerts"] > 0 and 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
