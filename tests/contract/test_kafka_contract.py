"""What every source and every sink promises, tried on Kafka with a real broker."""

import inspect
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import test_sink_contract as sinks
import test_source_contract as sources
from conftest import Broker, all_on, free_port, wait_for
from kafka import KafkaProducer

from connectors.batch import SECOND, PartitionTable, StreamTable, concat
from connectors.clock import WallClock
from connectors.file import FileSource
from connectors.formats.codec import JsonCodec
from connectors.kafka import source as kafka_source
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource, Library
from connectors.source import Merged

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
Check = Callable[..., None]


def checks(suite: ModuleType) -> list[Check]:
    """The tests of a suite that ask for nothing but a case."""
    tests = [test for name, test in vars(suite).items() if name.startswith("test_")]
    return [test for test in tests if list(inspect.signature(test).parameters) == ["case"]]


NEED_AN_END = {  # a topic has none
    sources.test_each_partition_ends_once_and_is_not_at_its_end_after_that,
    sources.test_after_the_end_every_poll_is_empty,
}
OF_SOURCES = [check for check in checks(sources) if check not in NEED_AN_END]
OF_SINKS = checks(sinks)
LIBRARIES = pytest.mark.parametrize("library", ["kafka-python", "confluent"])


def client(servers: str, **more: object) -> dict[str, object]:
    """Settings of a group of its own."""
    group = f"g.{uuid.uuid4().hex[:8]}"
    return {"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest", **more}


def fill(servers: str, topic: str, lines: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=5)
    for line in lines:
        producer.send(topic, line)
    producer.flush(60)
    producer.close()


def source_on(servers: str, topic: str, library: Library = "kafka-python") -> sources.Case:
    """All that is in a topic, a few records a poll."""
    streams, partitions, clock = StreamTable(), PartitionTable(), WallClock()
    codec = JsonCodec(None, "s", None, streams)
    settings = client(servers, **{"max.poll.records": 5})
    source = KafkaSource(settings, codec, partitions, clock, topics=[topic], library=library)
    return sources.Case(source, streams, partitions, clock, sources.content(), ends=False)


@pytest.fixture
def filled(kafka: str, topic: Topic) -> str:
    name = topic()
    fill(kafka, name, sources.lines().encode().splitlines())
    return name


@LIBRARIES
@pytest.mark.parametrize("check", OF_SOURCES, ids=lambda check: check.__name__)
def test_a_topic_keeps_what_every_source_promises(check: Check, library: Library, kafka: str, filled: str) -> None:
    case = source_on(kafka, filled, library)
    try:
        check(case)
    finally:
        case.source.close()


@LIBRARIES
@pytest.mark.parametrize("polls", [0, 2, 5])
def test_reading_on_from_its_positions_loses_nothing_and_repeats_nothing(
    polls: int, library: Library, kafka: str, filled: str, tmp_path: Path
) -> None:
    again = sources.test_reading_on_from_its_positions_loses_nothing_and_repeats_nothing
    again(lambda folder: source_on(kafka, filled, library), polls, tmp_path)


@LIBRARIES
def test_where_nothing_comes_a_poll_takes_its_time_and_says_that_it_is_at_the_end(
    library: Library, kafka: str, topic: Topic
) -> None:
    case = source_on(kafka, topic(), library)
    for batch in case.polls():
        assert len(batch) == 0
    until = case.clock.now() + 60_000_000
    batch = case.source.poll(until)
    assert 0 <= case.clock.now() - until < 5 * SECOND
    assert (len(batch), batch.at_end, batch.ended, case.source.done) == (0, (0,), (), False)
    case.source.close()


def test_a_topic_and_a_file_read_as_one_lose_nothing_even_what_only_counts(
    kafka: str, topic: Topic, tmp_path: Path
) -> None:
    name, path = topic(), tmp_path / "a.jsonl"
    lines = sources.lines().encode().splitlines()
    fill(kafka, name, [b"no reading", *lines[::2], b"{}"])
    path.write_bytes(b"".join(line + b"\n" for line in [*lines[1::2], b"nor this"]))
    streams, partitions, clock = StreamTable(), PartitionTable(), WallClock()
    codec = JsonCodec(None, "s", None, streams)
    settings = client(kafka, **{"max.poll.records": 1})
    topic_source = KafkaSource(settings, codec, partitions, clock, topics=[name])
    source = Merged([topic_source, FileSource(path, codec.decode, partitions, clock)], clock)
    case = sources.Case(source, streams, partitions, clock, sources.content(), ends=False)
    batches = list(case.polls())
    end = time.monotonic() + 60
    while sum(batch.counts.get("records", 0) for batch in batches) < len(lines) + 3 and time.monotonic() < end:
        batches.append(source.poll(clock.now() + SECOND // 10))
    found = concat(batches)
    assert sorted(case.named(found)) == sorted(case.readings)
    assert (found.counts["records"], found.counts["undecodable"]) == (len(lines) + 3, 3)
    ends = {partitions.names[number]: offset for number, offset in found.positions.items()}
    assert ends == {f"{name}/0": len(lines) // 2 + 2, str(path): path.stat().st_size}
    source.close()


def test_a_quiet_topic_is_never_taken_for_silent_brokers(
    kafka: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "ASK_MS", 3_000.0)  # a slow answer is no silence
    quiet = topic()

    def told(more: Mapping[str, object]) -> set[str | None]:
        clock = WallClock()
        codec = JsonCodec(None, "s", None, StreamTable())
        source = KafkaSource(client(kafka, **more), codec, PartitionTable(), clock, topics=[quiet])
        problems: set[str | None] = set()
        try:
            wait_for(lambda: source.poll(clock.now() + SECOND // 4).at_end)
            end = time.monotonic() + 8
            while time.monotonic() < end:
                batch = source.poll(clock.now() + SECOND // 4)
                problems |= {source.problem, None if batch.at_end else "not at its end"}
        finally:
            source.close()
        return problems

    with ThreadPoolExecutor(2) as both:
        found = [both.submit(told, more) for more in ({}, {"fetch.wait.max.ms": 500})]
        assert [each.result(120) for each in found] == [{None}, {None}]


@LIBRARIES
def test_while_brokers_are_silent_no_partition_counts_as_read_to_its_end(library: Library, own_kafka: Broker) -> None:
    own_kafka.start()
    fill(own_kafka.servers, "plant", sources.lines().encode().splitlines())
    case = source_on(own_kafka.servers, "plant", library)
    assert sum(map(len, case.polls())) == len(case.readings)
    own_kafka.stop()

    def silent() -> bool:
        unknown = not case.source.poll(case.clock.now() + SECOND // 10).at_end  # which closes no windows
        return unknown and "no broker" in str(getattr(case.source, "problem"))  # noqa: B009 - not in the contract

    wait_for(silent)
    own_kafka.start()
    wait_for(lambda: case.source.poll(case.clock.now() + SECOND // 10).at_end)
    case.source.close()


def everything(servers: str, topic: str) -> list[str]:
    """All messages in a topic, in order, a line of text each."""
    return [json.dumps(json.loads(record.value)) for record in all_on(servers, topic)]


@pytest.fixture
def sink_case(kafka: str, topic: Topic) -> Iterator[sinks.Case]:
    name = topic(name="alerts")
    nobody = KafkaSink(name, {"bootstrap.servers": f"127.0.0.1:{free_port()}"}, timeout_s=0.3)
    case = sinks.Case(KafkaSink(name, {"bootstrap.servers": kafka}), lambda: everything(kafka, name), nobody)
    yield case
    case.sink.close()


@pytest.mark.parametrize("check", OF_SINKS, ids=lambda check: check.__name__)
def test_a_topic_keeps_what_every_sink_promises(check: Check, sink_case: sinks.Case) -> None:
    check(sink_case)
