"""The Kafka source, its dead letters and the alert sink, against a real broker."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import Broker, all_on, free_port, wait_for
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient

from connectors.batch import SECOND, Batch, PartitionTable, StreamTable, concat
from connectors.clock import WallClock
from connectors.formats.codec import JsonCodec
from connectors.kafka import dead_letters as kafka_dead_letters
from connectors.kafka import source as kafka_source
from connectors.kafka.client import consumer_settings, producer_settings
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.partitions import parsed
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource
from connectors.sink import SinkError
from connectors.source import SourceError

pytestmark = pytest.mark.kafka

LIBRARY: kafka_source.Library = "kafka-python"  # the client that reads; the other one in test_kafka_confluent.py
START_MS = 1_700_000_000_000
Topic = Callable[..., str]


class Reader:
    """A source with tables of its own, and what is asked of it in nearly every test."""

    def __init__(self, servers: str, topic: str | None, group: str | None = None, **rest: Any) -> None:
        client = {"bootstrap.servers": servers, "group.id": group or f"g.{topic}", "auto.offset.reset": "earliest"}
        client.update(rest.pop("client", {}))
        self.streams, self.partitions, self.clock = StreamTable(), PartitionTable(), WallClock()
        codec = JsonCodec({"stream": "{machine}/{sensor}"}, "ms", None, self.streams)
        topics = [topic] if topic else []
        rest.setdefault("library", LIBRARY)
        self.source = KafkaSource(client, codec, self.partitions, self.clock, topics=topics, **rest)

    def poll(self, seconds: float = 0.1) -> Batch:
        return self.source.poll(self.clock.now() + round(seconds * SECOND))

    def until(self, enough: Callable[[list[Batch]], object], seconds: float = 60) -> Batch:
        """Poll until what came is enough; all of it as one batch."""
        batches: list[Batch] = []
        end = time.monotonic() + seconds
        while not enough(batches):
            assert time.monotonic() < end, f"not within {seconds} s; {self.source.problem}"
            batches.append(self.poll())
        return concat(batches)

    def readings(self, n: int) -> Batch:
        return self.until(lambda batches: sum(map(len, batches)) >= n)

    def named(self, positions: Mapping[int, int]) -> dict[str, int]:
        return {self.partitions.names[number]: offset for number, offset in positions.items()}


@contextmanager
def reading(*arguments: Any, **rest: Any) -> Iterator[Reader]:
    reader = Reader(*arguments, **rest)
    try:
        yield reader
    finally:
        reader.source.close()


def message(at: int, machine: str = "press1", sensor: str = "temp") -> bytes:
    return json.dumps({"machine": machine, "sensor": sensor, "ts": START_MS + 1000 * at, "value": at / 8}).encode()


def write(servers: str, topic: str, records: Sequence[Mapping[str, Any]], **settings: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=5, **settings)
    sent = [producer.send(topic, **record) for record in records]
    producer.flush(60)
    for future in sent:
        future.get(0)
    producer.close()


def fill(servers: str, topic: str, n: int, partition: int = 0) -> None:
    write(servers, topic, [{"value": message(at), "partition": partition} for at in range(n)])


def until_written(writer: DeadLetters, letters: Sequence[Letter]) -> None:
    """Send letters again until all are acknowledged; what has arrived is not written twice."""
    wait_for(lambda: all(writer.send(letters)))


def committed(servers: str, group: str, topic: str) -> int | None:
    return committed_of(servers, group, f"{topic}/0")


def committed_of(servers: str, group: str, partition: str) -> int | None:
    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    offset: int | None = consumer.committed(parsed(partition), timeout_ms=60_000)
    consumer.close()
    return offset


def test_readings_come_in_the_order_of_their_partition_with_positions(kafka: str, topic: Topic) -> None:
    plant = topic(3)
    sent = [(f"press{at % 6}", at) for at in range(600)]
    write(kafka, plant, [{"value": message(at, name), "key": name.encode()} for name, at in sent])
    with reading(kafka, plant) as reader:
        batch = reader.readings(600)
    assert len(batch) == 600 and batch.counts["records"] == 600 and batch.counts["bytes"] > 600 * 40
    for name in {name for name, _ in sent}:
        rows = batch.stream == reader.streams.slot_of[f"{name}/temp"]
        want = [at for sender, at in sent if sender == name]
        assert batch.value[rows].tolist() == [at / 8 for at in want]
        assert batch.ts[rows].tolist() == [(START_MS + 1000 * at) * 1_000_000 for at in want]
    for number in set(batch.partition.tolist()):
        assert np.all(np.diff(batch.offset[batch.partition == number]) == 1)
    ends = {f"{plant}/{n}": int((batch.partition == reader.partitions.number(f"{plant}/{n}")).sum()) for n in range(3)}
    assert reader.named(batch.positions) == ends


def test_what_was_written_before_heed_was_up_is_backlog_and_the_rest_is_not(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 10)
    time.sleep(0.01)
    with reading(kafka, plant) as reader:
        up = reader.clock.now()
        old = reader.readings(10)
        assert old.backlog is not None and old.backlog.all()
        assert np.all(old.arrived >= up)
        before = reader.clock.now()
        fill(kafka, plant, 5)
        new = reader.readings(5)
        assert new.backlog is not None and not new.backlog.any()
        assert np.all((new.arrived >= before - SECOND // 1000) & (new.arrived <= reader.clock.now()))


def test_seek_overrides_the_committed_offset(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 100)
    with reading(kafka, plant) as first:
        first.readings(100)
        first.source.commit({f"{plant}/0": 90})
    with reading(kafka, plant) as second:
        second.source.seek({f"{plant}/0": 40, "elsewhere/7": 3, "a file.csv": 12})
        assert second.readings(60).offset.tolist() == list(range(40, 100))
    with reading(kafka, plant) as third:
        assert third.readings(10).offset.tolist() == list(range(90, 100))


def test_where_others_have_read_on_since_a_restart_goes_on_there(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 20)
    with reading(kafka, plant, group="g.moved") as other:  # had the partition last, and read further
        other.readings(20)
        other.source.commit({f"{plant}/0": 15})
        other.until(lambda _: committed(kafka, "g.moved", plant) == 15)
    for reached, first in ((10, 15), (15, 4), (18, 4)):  # where it had come itself: behind the others, and not
        with reading(kafka, plant, group="g.moved") as reader:
            reader.source.seek({f"{plant}/0": 4})
            reader.source.remember({f"{plant}/0": reached, "elsewhere": 3})
            assert reader.until(lambda batches: sum(map(len, batches)) > 0).offset[0] == first


def test_a_seed_reads_history_first_and_commits_nothing_of_it(kafka: str, topic: Topic) -> None:
    plant, now = topic(2), round(time.time() * 1000)
    at = [now - 7200_000, now - 1800_000, now - 60_000, now - 1000]
    records = [{"value": message(i), "partition": 0, "timestamp_ms": ms} for i, ms in enumerate(at)]
    write(kafka, plant, records)
    told: list[int] = []
    latest = {"client": {"auto.offset.reset": "latest"}, "seed": 3600 * SECOND, "learning": told.append}
    with reading(kafka, plant, **latest) as reader:
        assert reader.readings(3).offset.tolist() == [1, 2, 3]
        assert told and abs(told[0] / 1e6 - now) < 60_000
        reader.source.commit({f"{plant}/0": 3})
        reader.poll(0.5)
        assert committed(kafka, f"g.{plant}", plant) is None
        reader.source.commit({f"{plant}/0": 4})
        reader.until(lambda batches: committed(kafka, f"g.{plant}", plant) == 4)
    del told[:]
    with reading(kafka, plant, **latest) as reader:
        assert reader.readings(3).offset.tolist() == [1, 2, 3]
        assert told == [(START_MS + 2000) * 1_000_000], "the event time that was committed with the offset"
    with reading(kafka, plant, **latest) as reader:
        reader.source.seek({f"{plant}/0": 4})
        write(kafka, plant, records[:1])
        assert reader.readings(1).offset.tolist() == [4]


def test_a_partition_that_comes_while_heed_reads_is_not_seeded(kafka: str, topic: Topic) -> None:
    plant, told, stop = topic(2), list[int](), threading.Event()
    for partition in (0, 1):
        fill(kafka, plant, 10, partition)
    more = {"seed": 3600 * SECOND, "client": {"heartbeat.interval.ms": 200}}

    def other() -> None:
        with reading(kafka, plant, **more) as first:
            first.readings(20)
            while not stop.is_set():
                first.source.commit({f"{plant}/0": 10, f"{plant}/1": 10})
                first.poll()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        for at in (f"{plant}/0", f"{plant}/1"):
            wait_for(lambda at=at: committed_of(kafka, f"g.{plant}", at) == 10)  # type: ignore[misc]
        with reading(kafka, plant, **more, learning=told.append) as reader:
            assert reader.readings(10).offset.tolist() == list(range(10)), "its first partition is seeded"
            assert len(told) == 1
            stop.set()
            reader.until(lambda _: len(reader.source.lag()) == 2)
            fill(kafka, plant, 1, 0)
            fill(kafka, plant, 1, 1)
            assert reader.readings(2).offset.tolist() == [10, 10] and len(told) == 1
    finally:
        stop.set()
        thread.join()


def test_empty_partitions_are_at_their_end_and_tell_where_they_start(kafka: str, topic: Topic) -> None:
    plant = topic(3)
    fill(kafka, plant, 4, partition=1)
    with reading(kafka, plant) as reader:
        batch = reader.until(lambda batches: batches and len(batches[-1].at_end) == 3)
        assert reader.named(batch.positions) == {f"{plant}/0": 0, f"{plant}/1": 4, f"{plant}/2": 0}
        later = reader.poll()
        assert len(later.at_end) == 3 and not later.positions
        assert reader.source.lag() == {f"{plant}/{n}": 0 for n in range(3)}
        assert reader.source.problem is None and not reader.source.done


def test_a_transaction_marker_at_the_end_does_not_hide_the_end(kafka: str, topic: Topic) -> None:
    plant = topic()
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=plant)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(plant, value=message(0))
    producer.commit_transaction()
    producer.close()
    with reading(kafka, plant) as reader:
        batch = reader.until(lambda batches: batches and batches[-1].at_end)
        assert len(batch) == 1 and reader.named(batch.positions) == {f"{plant}/0": 2}


def test_undecodable_messages_go_to_the_dead_letters_as_they_came(kafka: str, topic: Topic) -> None:
    dead = topic(name="dead")
    headers = [("trace", b"\x00\xff"), ("empty", b"")]
    bad = {
        "malformed": b'{"machine": "press1", \xff',
        "missing_value": b'{"machine": "a", "sensor": "b", "ts": 1}',
        "oversize": b'{"x": "' + b"y" * (1 << 20) + b'"}',
        "empty": None,
    }
    records: list[dict[str, Any]] = [{"value": message(0)}]
    for reason, value in bad.items():
        key = None if reason == "malformed" else b"\xfekey"
        records.append({"value": value, "key": key, "headers": headers, "timestamp_ms": START_MS + 7})
        records.append({"value": message(len(records))})
    plenty = topic(1, "large", **{"max.message.bytes": "4000000"})
    write(kafka, plenty, records, max_request_size=4 << 20)
    with reading(kafka, plenty, dead_letter=dead) as reader:
        batch = reader.readings(5)
        assert len(batch) == 5 and reader.named(batch.positions) == {f"{plenty}/0": 9}
        assert batch.counts["undecodable"] == 4
        assert {name: n for name, n in batch.counts.items() if "." in name} == {
            f"undecodable.{reason}": 1 for reason in bad
        }
    letters = all_on(kafka, dead)
    assert len(letters) == 4
    letters.sort(key=lambda letter: int(dict(letter.headers)["__streams.errors.offset"]))  # a cut one comes later
    for letter, (reason, value) in zip(letters, bad.items(), strict=True):
        told = dict(letter.headers)
        assert letter.headers[:2] == headers and told["heed.reason"] == reason.encode()
        assert told["__streams.errors.topic"] == plenty.encode() and told["__streams.errors.partition"] == b"0"
        offset = records.index(next(record for record in records if record["value"] is value))
        assert told["__streams.errors.offset"] == str(offset).encode()
        assert told["__streams.errors.message"] and told["__streams.errors.exception"]
        assert letter.timestamp == START_MS + 7
        assert letter.key == (None if reason == "malformed" else b"\xfekey")
        if reason == "oversize":  # more than the dead-letter topic takes
            assert value is not None and value.startswith(letter.value) and len(letter.value) == 64 << 10
            assert told["heed.truncated"] == str(len(value)).encode()
        else:
            assert letter.value == value


def test_no_position_passes_a_message_whose_dead_letter_could_not_be_written(
    kafka: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "RETRY", SECOND // 2)
    monkeypatch.setattr(kafka_dead_letters, "_WAIT_S", 0.3)
    plant, dead = topic(2), topic(1, "dead", **{"max.message.bytes": "20"})
    write(kafka, plant, [{"value": value, "partition": 0} for value in (message(0), b"broken", message(2))])
    fill(kafka, plant, 3, partition=1)
    with reading(kafka, plant, dead_letter=dead) as reader:
        batch = reader.readings(4)
        assert reader.named(batch.positions) == {f"{plant}/0": 1, f"{plant}/1": 3}
        held = reader.poll(1.5)
        assert not held.positions and held.counts == {}
        assert reader.source.problem is not None and dead in reader.source.problem
        allow = KafkaAdminClient(bootstrap_servers=kafka)
        allow.alter_configs([ConfigResource("topic", dead, {"max.message.bytes": "100000"})])
        allow.close()
        rest = reader.readings(1)
        assert rest.value.tolist() == [2 / 8] and reader.named(rest.positions) == {f"{plant}/0": 3}
        assert rest.counts["undecodable"] == 1
        assert reader.source.problem is None
    assert all_on(kafka, dead)[-1].value == b"broken"


class NotText(str):
    """What a producer writes as bytes that are no text."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


def test_a_record_that_the_client_cannot_unpack_costs_itself_only(kafka: str, topic: Topic) -> None:
    plant, dead = topic(), topic(name="dead")
    for at in range(5):  # each in a batch of its own
        headers = [(NotText("name"), b"1")] if at == 2 else []
        write(kafka, plant, [{"value": message(at), "headers": headers}])
    with reading(kafka, plant, dead_letter=dead) as reader:
        batch = reader.readings(4)
        assert batch.offset.tolist() == [0, 1, 3, 4]
        assert batch.counts["undecodable.unreadable"] == 1
    told = dict(all_on(kafka, dead)[0].headers)
    assert told["__streams.errors.offset"] == b"2" and b"Unicode" in told["__streams.errors.message"]


def test_the_broker_is_told_what_commit_says_and_never_more(kafka: str, topic: Topic) -> None:
    plant = topic()
    group = f"g.{plant}"
    fill(kafka, plant, 20)
    with reading(kafka, plant) as reader:
        reader.readings(20)
        assert committed(kafka, group, plant) is None
        reader.source.commit({f"{plant}/0": 7})
        reader.until(lambda _: committed(kafka, group, plant) == 7)
        reader.source.commit({f"{plant}/0": 11, f"{plant}/9": 3, "a file.csv": 4})
    assert committed(kafka, group, plant) == 11


def test_what_retention_took_is_counted_and_the_rest_is_read(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 50)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(plant, 0): 30})
    admin.close()
    with reading(kafka, plant, client={"auto.offset.reset": "latest"}) as reader:
        reader.source.seek({f"{plant}/0": 12})
        batch = reader.readings(20)
        assert batch.offset.tolist() == list(range(30, 50)) and batch.counts["lost"] == 18


def test_dead_letters_are_tried_again_though_every_poll_takes_its_whole_time(
    kafka: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "RETRY", SECOND)
    monkeypatch.setattr(kafka_dead_letters, "_WAIT_S", 0.3)
    plant, dead = topic(), topic(1, "dead", **{"max.message.bytes": "20"})
    write(kafka, plant, [{"value": value} for value in (message(0), b"broken", message(2))])
    with reading(kafka, plant, dead_letter=dead) as reader:
        reader.readings(1)
        allow = KafkaAdminClient(bootstrap_servers=kafka)
        allow.alter_configs([ConfigResource("topic", dead, {"max.message.bytes": "100000"})])
        allow.close()
        later: list[Batch] = []
        while not sum(map(len, later)) and len(later) < 100:
            later.append(reader.poll(0.3))
        assert concat(later).value.tolist() == [2 / 8] and reader.source.problem is None


def test_a_pattern_finds_topics_that_come_later(kafka: str, topic: Topic) -> None:
    early = topic(name="line")
    fill(kafka, early, 2)
    stem = early.split(".")[2]
    options = {"pattern": rf"line.*{stem}.*", "client": {"metadata.max.age.ms": 300}}
    with reading(kafka, None, f"g.{stem}", **options) as reader:
        reader.readings(2)
        late = topic(name=f"line.{stem}")
        fill(kafka, late, 3)
        assert len(reader.readings(3)) == 3
        assert f"{late}/0" in reader.partitions.names


def test_a_partition_far_ahead_in_event_time_waits_for_the_others(kafka: str, topic: Topic) -> None:
    plant = topic(2)
    for partition in range(2):
        records = [{"value": message(at, f"press{partition}"), "partition": partition} for at in range(1500)]
        write(kafka, plant, records)
    with reading(kafka, plant, client={"max.poll.records": 50}) as reader:
        batch = reader.readings(3000)
    newest = {number: np.where(batch.partition == number, batch.ts, 0) for number in set(batch.partition.tolist())}
    first, second = (np.maximum.accumulate(column) for column in newest.values())
    started = (first > 0) & (second > 0) & (np.arange(3000) < 2800)
    assert started.sum() > 2500
    assert np.max(np.abs(first - second)[started]) < 250 * SECOND  # 60 s, and a few polls of 50 s each


def test_partitions_move_between_members_and_nothing_is_read_twice(kafka: str, topic: Topic) -> None:
    plant = topic(4)
    for partition in range(4):
        fill(kafka, plant, 10, partition)
    soon = {"heartbeat.interval.ms": 200}
    with reading(kafka, plant, client=soon) as stays:
        first = stays.readings(40)
        stop = threading.Event()
        taken: list[Batch] = []

        def other() -> None:
            with reading(kafka, plant, client=soon) as comes:
                while not stop.is_set():
                    taken.append(comes.poll())

        stays.source.commit({f"{plant}/{n}": 10 for n in range(4)})
        thread = threading.Thread(target=other)
        thread.start()
        try:
            given = stays.until(lambda batches: sum(len(batch.ended) for batch in batches) == 2)
            for partition in range(4):
                write(kafka, plant, [{"value": message(10), "partition": partition}])
            more = stays.readings(2)
            assert not set(more.partition.tolist()) & set(given.ended)
            more = concat([more, stays.until(lambda _: sum(map(len, taken)) >= 2)])
        finally:
            stop.set()
            thread.join()
        back = stays.until(lambda _: len(stays.source.lag()) == 4)
        again = stays.until(lambda batches: batches and len(batches[-1].at_end) == 4)
    assert len(first) == 40 and len(more) == 2 and sum(map(len, taken)) == 2
    again_rows = concat([back, again])  # the other member never committed: its two come again, nothing else
    assert set(again_rows.offset.tolist()) <= {10} and len(again_rows) == 2


def test_a_topic_that_does_not_exist_is_told_and_not_made(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "UNASSIGNED", SECOND // 2)
    name = f"no.such.{uuid.uuid4().hex[:8]}"
    with reading(kafka, name) as reader:
        reader.until(lambda _: f"no partition of {name}" in str(reader.source.problem))
        reader.poll(3.2)  # not taken for silence of the brokers
        assert f"no partition of {name}" in str(reader.source.problem)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert name not in admin.list_topics()
    admin.close()


def test_a_static_member_comes_back_at_once_and_takes_the_place_of_its_double(kafka: str, topic: Topic) -> None:
    plant = topic()
    fill(kafka, plant, 3)
    soon = {"heartbeat.interval.ms": 200}
    with reading(kafka, plant, instance="heed-1", client=soon) as first:
        first.readings(3)
    began = time.monotonic()
    with reading(kafka, plant, instance="heed-1", client=soon) as second:
        second.readings(3)
        assert time.monotonic() - began < 30  # the session of the first would have lasted 45 s
        with reading(kafka, plant, instance="heed-1") as double:
            double.readings(3)
            with pytest.raises(SourceError, match="same member"):
                second.until(lambda _: False)


def test_polls_that_never_wait_still_join_and_read(kafka: str, topic: Topic) -> None:
    plant = topic(2)
    fill(kafka, plant, 5)
    with reading(kafka, plant) as reader:
        got, end = 0, time.monotonic() + 60
        while got < 5 and time.monotonic() < end:
            got += len(reader.poll(0))
            time.sleep(0.02)
        assert got == 5


def test_no_broker_means_empty_polls_in_time_and_a_problem_told() -> None:
    servers = f"127.0.0.1:{free_port()}"
    with reading(servers, "plant") as reader:
        for _ in range(3):
            began = time.monotonic()
            batch = reader.poll(0.1)
            assert time.monotonic() - began < 5  # a client that is left to itself tries for 30 s
            assert len(batch) == 0 and not batch.at_end and not batch.positions
        assert reader.source.problem is not None and servers in reader.source.problem
        reader.source.commit({"plant/0": 3})
    assert reader.source.done
    threads = [thread.name for thread in threading.enumerate()]
    assert "kafka-connect" not in threads


def test_a_broker_that_goes_and_comes_back_costs_nothing(own_kafka: Broker) -> None:
    own_kafka.start()
    write(own_kafka.servers, "plant", [{"value": message(at)} for at in range(3)])
    with reading(own_kafka.servers, "plant") as reader:
        reader.readings(3)
        own_kafka.stop()
        reader.until(lambda _: "no broker" in str(reader.source.problem))
        began = time.monotonic()
        assert len(reader.poll(0.2)) == 0
        assert time.monotonic() - began < 10
        own_kafka.start()
        write(own_kafka.servers, "plant", [{"value": message(at)} for at in range(3, 6)])
        batch = reader.readings(3)
        assert batch.offset.tolist() == [3, 4, 5] and reader.source.problem is None
        assert batch.backlog is not None and batch.backlog.all()


def alert(status: str, at: str) -> dict[str, object]:
    return {"fingerprint": "f00d", "status": status, "starts_at": "2024-05-01T00:00:00Z", "ends_at": at, "n": 1}


def test_the_sink_delivers_in_order_with_key_and_headers(kafka: str, topic: Topic) -> None:
    alerts = topic(3, "alerts")
    sink = KafkaSink(alerts, {"bootstrap.servers": kafka})
    messages = [alert("firing", ""), alert("resolved", "2024-05-01T00:05:00Z")]
    sink.send(messages)
    sink.close()
    sink.close()
    records = all_on(kafka, alerts)
    assert [json.loads(record.value) for record in records] == messages
    assert {record.key for record in records} == {b"f00d"}
    assert dict(records[1].headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"f00d-2024-05-01T00:00:00Z-resolved",
        "ce_source": b"heed",
        "ce_type": b"heed.alert.resolved",
        "ce_time": b"2024-05-01T00:05:00Z",
        "content-type": b"application/json",
    }
    assert dict(records[0].headers)["ce_time"] == b"2024-05-01T00:00:00Z"
    with pytest.raises(SinkError, match="closed"):
        sink.send(messages)


def test_the_sink_says_so_when_no_broker_takes_its_messages() -> None:
    sink = KafkaSink("alerts", {"bootstrap.servers": f"127.0.0.1:{free_port()}"}, timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(SinkError, match="alerts"):
        sink.send([alert("firing", "")])
    assert time.monotonic() - began < 8  # ten seconds, unless told otherwise
    sink.close()


def test_librdkafkas_names_are_understood_and_others_refused() -> None:
    client = {"bootstrap.servers": "a:1, b:2", "group.id": "x", "client.id": "u", "fetch.wait.max.ms": "50"}
    assert consumer_settings(client) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "group_id": "x",
        "client_id": "u",
        "fetch_max_wait_ms": 50,
    }
    assert producer_settings({**client, "linger.ms": 5}) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "u",
        "linger_ms": 5,
    }


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ({"bootstrap.server": "a:1"}, "did you mean 'bootstrap.servers'"),
        ({"bootstrap_servers": "a:1"}, "did you mean 'bootstrap.servers'"),
        ({}, "bootstrap.servers: missing"),
        ({"bootstrap.servers": "a:1", "session.timeout.ms": "soon"}, "session.timeout.ms"),
        ({"bootstrap.servers": "a:1", "auto.offset.reset": "yesterday"}, "one of .*earliest"),
        ({"bootstrap.servers": "a:1", "auto.offset.reset": "error"}, "earliest or latest .*error"),
        ({"bootstrap.servers": "a:1", "auto.offset.reset": "none"}, "earliest or latest .*none"),
        ({"bootstrap.servers": "a:1", "security.protocol": "TLS"}, "SASL_SSL"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(client: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        consumer_settings(client)


def test_either_topics_or_a_pattern_and_a_dead_letter_topic_that_can_be() -> None:
    servers = "127.0.0.1:1"
    with pytest.raises(ValueError, match="topics or a pattern"):
        Reader(servers, "plant", pattern="x")
    with pytest.raises(ValueError, match="regular expression"):
        Reader(servers, None, pattern="(")
    with pytest.raises(ValueError, match="dead_letter"):
        Reader(servers, "plant", dead_letter="no topic")
    assert Reader(servers, "plant", "a group")  # whose letters go to a_group.dlq
