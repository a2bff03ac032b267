"""State in a compacted topic: whole, read once it is decided, and refused from a process that has been away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Broker, free_port, require_java
from kafka import ConsumerGroupMetadata, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient
from test_kafka import committed, read_back, write

from connectors import kafka_transaction
from connectors.kafka_compacted import StateTopicError
from connectors.kafka_dead_letters import DeadLetters, Letter
from connectors.kafka_pieces import cut
from connectors.kafka_quirks import joining
from connectors.kafka_sink import KafkaSink, Message
from connectors.kafka_state import StateTopic
from connectors.kafka_transaction import FencedError

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
ALERT: Message = {"fingerprint": "f00d", "status": "firing", "starts_at": "2024-05-01T00:00:00Z"}
LIVELY = {"session_timeout_ms": 3000, "heartbeat_interval_ms": 300, "max_poll_interval_ms": 60_000}


class Member:
    """A consumer of one topic in a group, polled until it has its partitions."""

    def __init__(self, servers: str, topic: str, group: str) -> None:
        self.consumer = KafkaConsumer(
            topic,
            bootstrap_servers=servers,
            group_id=group,
            enable_auto_commit=False,
            metadata_max_age_ms=500,
            **LIVELY,
        )

    def joined(self, partitions: int = 1, seconds: float = 30) -> Any:
        """The metadata of the group once this many partitions are ours."""
        end = time.monotonic() + seconds
        while len(self.consumer.assignment()) != partitions:
            assert time.monotonic() < end, "no partitions"
            self.poll()
        return self.consumer.group_metadata()

    def poll(self) -> None:
        self.consumer.poll(timeout_ms=500 if joining(self.consumer) else 100)


@contextmanager
def member(servers: str, topic: str, group: str) -> Iterator[Member]:
    made = Member(servers, topic, group)
    try:
        yield made
    finally:
        made.consumer.close(autocommit=False)


class Place:
    """A source topic with its group, and state topics in it."""

    def __init__(self, servers: str, source: str) -> None:
        self.servers, self.source = servers, source
        self.group, self.topic = f"g.{source}", f"g.{source}.state"
        self.zero = f"{source}/0"
        self._made: list[StateTopic] = []

    def state(self, instance: str = "a", **rest: Any) -> StateTopic:
        client = {"bootstrap.servers": self.servers, "group.id": self.group}
        self._made.append(StateTopic(client, self.topic, self.group, instance, **rest))
        return self._made[-1]

    def member(self) -> Any:
        return member(self.servers, self.source, self.group)

    def close(self) -> None:
        for state in self._made:
            state.close()


@pytest.fixture
def place(kafka: str, topic: Topic) -> Iterator[Place]:
    made = Place(kafka, topic(4))
    yield made
    made.close()


def alerts_in(servers: str, topic: str) -> list[Any]:
    """What a reader of committed records sees."""
    at = TopicPartition(topic, 0)
    plain = KafkaConsumer(bootstrap_servers=servers)
    end = plain.end_offsets([at])[at]
    plain.close()
    consumer = KafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", auto_offset_reset="earliest")
    consumer.assign([at])
    found: list[Any] = []
    until = time.monotonic() + 30
    while consumer.position(at) < end:
        assert time.monotonic() < until, "a transaction is still open"
        for records in consumer.poll(timeout_ms=100).values():
            found.extend(records)
    consumer.close()
    return found


def test_what_was_written_is_read_back_by_another_process_with_its_position(place: Place) -> None:
    large = os.urandom(5 << 20)  # in many chunks
    with place.member() as joined:
        whose = joined.joined(4)
        pieces = {(place.zero, "large"): large, (place.zero, "small"): b"s", (f"{place.source}/2", "large"): b""}
        place.state().write(pieces, {place.zero: 17}, whose, metadata={place.zero: "heed 1 2"})
    found = place.state("b").read([f"{place.source}/{n}" for n in range(4)])
    assert found == {place.zero: {"large": large, "small": b"s"}, f"{place.source}/2": {"large": b""}}
    assert committed(place.servers, place.group, place.source) == 17


def test_the_newest_of_each_kind_wins_and_a_shorter_one_takes_the_rest_of_a_longer_one_away(place: Place) -> None:
    with place.member() as joined:
        whose, state = joined.joined(4), place.state()
        for turn, size in enumerate((2_000_000, 600_000, 3, 1_100_000, 10)):
            state.write({(place.zero, "large"): bytes([turn]) * size}, {place.zero: turn}, whose)
        state.write({(place.zero, "small"): b"alone"}, {place.zero: 9}, whose)
    other = place.state("b")
    assert other.read([place.zero]) == {place.zero: {"large": bytes([4]) * 10, "small": b"alone"}}
    assert other.read([f"{place.source}/1"]) == {} and other.problem is None
    last = {record.key: record.value for record in read_back(place.servers, place.topic, 99, 2)}
    assert last.pop(f"{place.zero}|large|0".encode()) and last.pop(f"{place.zero}|small|0".encode())
    assert list(last.values()) == [None, None, None]  # so compaction leaves nothing of the longer ones


def test_the_topic_is_made_compacted_with_small_segments(place: Place) -> None:
    state = place.state(partitions=3)
    assert state.read([place.zero]) == {}
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    found = admin.describe_configs([ConfigResource("TOPIC", place.topic)], config_filter="all")["topic"][place.topic]
    (told,) = admin.describe_topics([place.topic])
    admin.close()
    assert found["cleanup.policy"]["value"] == "compact" and found["segment.bytes"]["value"] == str(64 << 20)
    assert int(found["max.compaction.lag.ms"]["value"]) < 3_600_000
    assert len(told["partitions"]) == 3 and state.remark is None


def test_a_topic_that_is_not_compacted_is_remarked_and_used_with_what_it_takes(place: Place) -> None:
    configs = {"cleanup.policy": "delete", "max.message.bytes": "20000"}
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    options = {"num_partitions": 1, "replication_factor": 1, "configs": configs}
    admin.create_topics({place.topic: options}, wait_for_metadata=True)
    admin.close()
    with place.member() as joined:
        state, piece = place.state(), os.urandom(100_000)
        state.write({(place.zero, "large"): piece}, {place.zero: 1}, joined.joined(4))
    assert state.read([place.zero]) == {place.zero: {"large": piece}}
    assert "is not compacted" in str(state.remark) and state.problem is None


def test_alerts_go_with_the_state_as_the_sink_would_write_them(place: Place, topic: Topic) -> None:
    alerts, small = topic(1, "alerts"), topic(1, "small", **{"max.message.bytes": "2000"})
    sink = KafkaSink(alerts, {"bootstrap.servers": place.servers})
    sink.send([ALERT])
    sink.close()
    lengthy = {**ALERT, "annotations": {"text": os.urandom(5000).hex()}}
    with place.member() as joined:
        messages = [(alerts, ALERT), (small, lengthy)]
        place.state().write({(place.zero, "small"): b"s"}, {place.zero: 3}, joined.joined(4), messages)
    first, second = alerts_in(place.servers, alerts)
    assert (first.key, first.value, first.headers) == (second.key, second.value, second.headers)
    (cut,) = alerts_in(place.servers, small)
    assert json.loads(cut.value) == ALERT and "heed.truncated" in dict(cut.headers)
    assert place.state("b").read([place.zero]) == {place.zero: {"small": b"s"}}


@contextmanager
def unfinished(place: Place, piece: bytes, offset: int, instance: str = "other") -> Iterator[KafkaProducer]:
    """Another process in the midst of its transaction: the state is sent, the offsets too."""
    producer = KafkaProducer(bootstrap_servers=place.servers, transactional_id=f"{place.group}-{instance}")
    producer.init_transactions()
    producer.begin_transaction()
    ((key, value, headers),) = cut((place.zero, "small"), piece, 1000)
    with place.member() as joined:
        offsets = {TopicPartition(place.source, 0): OffsetAndMetadata(offset, "", -1)}
        producer.send_offsets_to_transaction(offsets, joined.joined(4))
    for partition in range(8):  # wherever it lives
        producer.send(place.topic, key=key, value=value, headers=headers, partition=partition)
    producer.flush()
    yield producer
    producer.close()


@pytest.mark.parametrize("commits", [True, False])
def test_reading_waits_for_an_open_transaction_and_sees_it_only_where_it_commits(place: Place, commits: bool) -> None:
    with place.member() as joined:
        place.state().write({(place.zero, "small"): b"old"}, {place.zero: 1}, joined.joined(4))
    reader = place.state("b")
    with unfinished(place, b"new", 2) as producer:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(reader.read([place.zero])))
        thread.start()
        with pytest.raises(StateTopicError, match="not decided"):
            place.state("c").read([place.zero], timeout_s=1.5)
        assert not found
        (producer.commit_transaction if commits else producer.abort_transaction)()
        thread.join(30)
    assert found == [{place.zero: {"small": b"new" if commits else b"old"}}]
    assert committed(place.servers, place.group, place.source) == (2 if commits else 1)


def test_a_process_that_starts_again_does_not_wait_for_what_it_left_open(place: Place) -> None:
    with place.member() as joined:
        place.state().write({(place.zero, "small"): b"old"}, {place.zero: 1}, joined.joined(4))
    with unfinished(place, b"new", 2, "again"):
        assert place.state("again").read([place.zero], timeout_s=20) == {place.zero: {"small": b"old"}}
        assert committed(place.servers, place.group, place.source) == 1


def test_a_process_that_sleeps_in_its_transaction_is_given_up_and_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_java()
    (tmp_path / "more").write_text("transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n")
    broker = Broker(tmp_path / "kafka", HEED_KAFKA_PROPERTIES=str(tmp_path / "more"))
    monkeypatch.setattr(kafka_transaction, "SPARE_MS", -18_000)  # so that the broker waits 2 s
    try:
        broker.start()
        write(broker.servers, "plant", [{"value": b"{}"}])
        place = Place(broker.servers, "plant")
        sleeper, heir, found = place.state("sleeper", timeout_s=20), place.state("heir", timeout_s=20), list[Any]()
        send = sleeper._transactions._send

        def asleep(*what: Any) -> None:
            send(*what)
            found.append(heir.read([place.zero], timeout_s=30))

        with place.member() as joined:
            whose = joined.joined()
            sleeper.write({(place.zero, "small"): b"awake"}, {place.zero: 1}, whose)
            monkeypatch.setattr(sleeper._transactions, "_send", asleep)
            with pytest.raises(FencedError, match="ProducerFenced"):
                sleeper.write({(place.zero, "small"): b"asleep"}, {place.zero: 2}, whose)
            monkeypatch.undo()
            assert found == [{place.zero: {"small": b"awake"}}]
            sleeper.write({(place.zero, "small"): b"awake again"}, {place.zero: 2}, whose)
        assert heir.read([place.zero]) == {place.zero: {"small": b"awake again"}}
        place.close()
    finally:
        broker.stop()


def test_an_old_generation_is_fenced_and_a_fresh_one_is_not(place: Place, topic: Topic) -> None:
    alerts, state = topic(1, "alerts"), place.state()
    with place.member() as first:
        old = first.joined(4)
        state.write({(place.zero, "small"): b"first"}, {place.zero: 1}, old)
        with place.member() as second:
            end = time.monotonic() + 30
            while len(first.consumer.assignment()) != 2 or len(second.consumer.assignment()) != 2:
                assert time.monotonic() < end
                first.poll()
                second.poll()
            with pytest.raises(FencedError, match="IllegalGeneration"):
                state.write({(place.zero, "small"): b"zombie"}, {place.zero: 2}, old, [(alerts, ALERT)])
            assert "IllegalGeneration" in str(state.problem)
            assert place.state("b").read([place.zero]) == {place.zero: {"small": b"first"}}
            state.write({(place.zero, "small"): b"again"}, {place.zero: 3}, first.consumer.group_metadata())
    assert state.problem is None
    assert place.state("c").read([place.zero]) == {place.zero: {"small": b"again"}}
    assert alerts_in(place.servers, alerts) == []


def test_who_claims_to_be_no_member_at_all_is_fenced(place: Place) -> None:
    with place.member() as joined:
        outsider = joined.joined(4)._replace(generation_id=-1, member_id="")
        with pytest.raises(FencedError, match="no member"):
            place.state().write({(place.zero, "small"): b"s"}, {place.zero: 1}, outsider)


def test_state_without_an_offset_could_not_be_fenced_and_is_refused(place: Place) -> None:
    with pytest.raises(ValueError, match="without an offset"):
        place.state().write({(place.zero, "small"): b"s"}, {}, None)


def test_two_processes_of_one_name_the_later_takes_over_and_the_other_is_told(place: Place) -> None:
    first, second = place.state("same"), place.state("same")
    with place.member() as joined:
        whose = joined.joined(4)
        first.write({(place.zero, "small"): b"1"}, {place.zero: 1}, whose)
        second.write({(place.zero, "small"): b"2"}, {place.zero: 2}, whose)
        with pytest.raises(FencedError):
            first.write({(place.zero, "small"): b"3"}, {place.zero: 3}, whose)
    assert second.read([place.zero]) == {place.zero: {"small": b"2"}}


ZOMBIE = """
import sys
from test_kafka_state import ALERT, Place
from connectors.kafka_transaction import FencedError

servers, source, alerts = sys.argv[1:]
place = Place(servers, source)
state = place.state("zombie")
with place.member() as joined:
    stale = joined.joined(4)
    state.write({(place.zero, "small"): b"alive"}, {place.zero: 1}, stale)
    print("written", flush=True)
    sys.stdin.readline()
    try:
        state.write({(place.zero, "small"): b"zombie"}, {place.zero: 9}, stale, [(alerts, ALERT)])
        print("not fenced", flush=True)
    except FencedError:
        print("fenced", flush=True)
    sys.stdin.readline()
    joined.consumer.poll(timeout_ms=500)
    state.write({(place.zero, "small"): b"back"}, {place.zero: 3}, joined.joined(4), [(alerts, ALERT)])
    print("back", flush=True)
"""


def test_a_process_that_was_paused_beyond_its_session_writes_nothing_until_it_is_back(
    place: Place, topic: Topic
) -> None:
    alerts = topic(1, "alerts")
    folder = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder.parent.parent, folder.parent, folder)))}
    with subprocess.Popen(
        [sys.executable, "-c", ZOMBIE, place.servers, place.source, alerts],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
    ) as zombie:  # fmt: skip
        try:
            said, tell = zombie.stdout, zombie.stdin
            assert said is not None and tell is not None and said.readline() == "written\n"
            zombie.send_signal(signal.SIGSTOP)
            heir = place.state("heir")
            with place.member() as other:
                whose = other.joined(4)
                assert heir.read([place.zero]) == {place.zero: {"small": b"alive"}}
                heir.write({(place.zero, "small"): b"heir"}, {place.zero: 2}, whose)
                zombie.send_signal(signal.SIGCONT)
                tell.write("\n")
                tell.flush()
                assert said.readline() == "fenced\n"
                assert heir.read([place.zero]) == {place.zero: {"small": b"heir"}}
                assert alerts_in(place.servers, alerts) == []
                assert committed(place.servers, place.group, place.source) == 2
            tell.write("\n")
            tell.flush()
            assert said.readline() == "back\n"
        finally:
            zombie.kill()
    assert heir.read([place.zero]) == {place.zero: {"small": b"back"}}
    assert len(alerts_in(place.servers, alerts)) == 1


def test_a_broker_that_goes_and_comes_back_costs_one_try_and_leaves_no_thread_behind(own_kafka: Broker) -> None:
    own_kafka.start()
    write(own_kafka.servers, "plant", [{"value": b"{}"}])
    place = Place(own_kafka.servers, "plant")
    state, letters = place.state(timeout_s=4), DeadLetters("g.plant.dlq", {"bootstrap.servers": own_kafka.servers})
    letter = Letter("plant", 0, 0, None, b"{}", (), -1, "json", "no JSON")
    assert letters.send([letter]) == [True]
    with place.member() as joined:
        whose = joined.joined()
        state.write({(place.zero, "small"): b"before"}, {place.zero: 1}, whose)
        own_kafka.stop()
        began = time.monotonic()
        with pytest.raises(StateTopicError, match=r"g.plant.state"):
            state.write({(place.zero, "small"): b"lost"}, {place.zero: 2}, whose)
        assert time.monotonic() - began < 15 and state.problem is not None
        assert letters.send([letter]) == [False]
        own_kafka.start()
        end = time.monotonic() + 60
        while not _written(state, {(place.zero, "small"): b"after"}, {place.zero: 3}, joined.consumer.group_metadata()):
            assert time.monotonic() < end, state.problem
            joined.poll()
    assert place.state("b").read([place.zero]) == {place.zero: {"small": b"after"}}
    place.close()
    while any("producer" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end, "a producer has left its thread behind"
        time.sleep(0.1)


def _written(state: StateTopic, *what: Any) -> bool:
    try:
        state.write(*what)
    except (StateTopicError, FencedError):
        return False
    return state.problem is None


def test_no_broker_is_told_in_time_for_reading_and_writing() -> None:
    place = Place(f"127.0.0.1:{free_port()}", "plant")
    state = place.state(timeout_s=1)
    for use in (lambda: state.read([place.zero]), lambda: state.write({}, {place.zero: 1}, _somebody(place.group))):
        began = time.monotonic()
        with pytest.raises(StateTopicError, match=r"g.plant.state: "):
            use()
        assert time.monotonic() - began < 10 and "g.plant.state" in str(state.problem)


def _somebody(group: str) -> Any:
    return ConsumerGroupMetadata(group, 1, "somebody", None)


def test_one_write_of_100_kb_is_measured(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    state, piece, took = place.state(), os.urandom(100_000), list[float]()
    with place.member() as joined:
        whose = joined.joined(4)
        for turn in range(51):
            began = time.perf_counter()
            state.write({(place.zero, "small"): piece}, {place.zero: turn}, whose)
            took.append(time.perf_counter() - began)
    with capsys.disabled():
        print(f"\none write of 100 kB: {_told(took[1:])}; the first {1000 * took[0]:.0f} ms")
    assert committed(place.servers, place.group, place.source) == 50


def _told(took: Sequence[float]) -> str:
    ms = sorted(1000 * each for each in took)
    return f"p50 {ms[len(ms) // 2]:.1f} ms, p90 {ms[len(ms) * 9 // 10]:.1f} ms, most {ms[-1]:.1f} ms"
