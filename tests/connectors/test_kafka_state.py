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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Broker, all_on, free_port, require_java, wait_for
from kafka import ConsumerGroupMetadata, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient
from kafka.errors import KafkaTimeoutError
from test_kafka import committed, until_written, write

from connectors.kafka import transaction as kafka_transaction
from connectors.kafka.compacted import StateTopicError
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.pieces import cut
from connectors.kafka.quirks import joining
from connectors.kafka.sink import KafkaSink, Message
from connectors.kafka.state import StateTopic
from connectors.kafka.transaction import FencedError
from connectors.source import RefusedTopicError, UndecidedError

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
ALERT: Message = {"fingerprint": "f00d", "status": "firing", "starts_at": "2024-05-01T00:00:00Z"}
LIVELY = {"heartbeat_interval_ms": 300, "max_poll_interval_ms": 120_000}


class Member:
    """A consumer of one topic in a group, polled until it has its partitions."""

    def __init__(self, servers: str, topic: str, group: str, session_ms: int) -> None:
        self.consumer = KafkaConsumer(
            topic,
            bootstrap_servers=servers,
            group_id=group,
            enable_auto_commit=False,
            metadata_max_age_ms=500,
            session_timeout_ms=session_ms,
            **LIVELY,
        )

    def joined(self, partitions: int = 1, seconds: float = 60) -> Any:
        """The metadata of the group once this many partitions are ours."""
        end = time.monotonic() + seconds
        while len(self.consumer.assignment()) != partitions:
            assert time.monotonic() < end, "no partitions"
            self.poll()
        return self.consumer.group_metadata()

    def poll(self) -> None:
        self.consumer.poll(timeout_ms=500 if joining(self.consumer) else 100)


@contextmanager
def member(servers: str, topic: str, group: str, session_ms: int) -> Iterator[Member]:
    made = Member(servers, topic, group, session_ms)
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

    def state(self, instance: str = "a", timeout_s: float = 30, **rest: Any) -> StateTopic:
        client = {"bootstrap.servers": self.servers, "group.id": self.group}
        self._made.append(StateTopic(client, self.topic, self.group, instance, timeout_s, **rest))
        return self._made[-1]

    def member(self, session_ms: int = 15_000) -> Any:
        return member(self.servers, self.source, self.group, session_ms)

    def close(self) -> None:
        for state in self._made:
            state.close()


@pytest.fixture
def place(kafka: str, topic: Topic) -> Iterator[Place]:
    made = Place(kafka, topic(4))
    yield made
    made.close()


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
    last = {record.key: record.value for record in all_on(place.servers, place.topic)}
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
    first, second = all_on(place.servers, alerts, "read_committed")
    assert (first.key, first.value, first.headers) == (second.key, second.value, second.headers)
    (cut,) = all_on(place.servers, small, "read_committed")
    assert json.loads(cut.value) == ALERT and "heed.truncated" in dict(cut.headers)
    assert place.state("b").read([place.zero]) == {place.zero: {"small": b"s"}}


def test_an_alert_topic_that_takes_less_than_a_batch_gets_each_alert_once(place: Place, topic: Topic) -> None:
    alerts = topic(1, "alerts", **{"max.message.bytes": "3000"})
    many: list[tuple[str, Message]] = [(alerts, {**ALERT, "text": f"{n:0600d}"}) for n in range(300)]
    with place.member() as joined:
        place.state().write({(place.zero, "small"): b"s"}, {place.zero: 3}, joined.joined(4), many)
    told = [json.loads(record.value) for record in all_on(place.servers, alerts, "read_committed")]
    assert told == [dict(said) for _, said in many]


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
        thread.join(60)
    assert found == [{place.zero: {"small": b"new" if commits else b"old"}}]
    assert committed(place.servers, place.group, place.source) == (2 if commits else 1)


def test_a_process_that_starts_again_does_not_wait_for_what_it_left_open(place: Place) -> None:
    with place.member() as joined:
        place.state().write({(place.zero, "small"): b"old"}, {place.zero: 1}, joined.joined(4))
    with unfinished(place, b"new", 2, "again"):
        assert place.state("again").read([place.zero], timeout_s=20) == {place.zero: {"small": b"old"}}
        assert committed(place.servers, place.group, place.source) == 1


@pytest.mark.parametrize("taken", [True, False])
def test_what_stands_in_the_topic_tells_how_a_transaction_without_an_answer_ended(
    place: Place, topic: Topic, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    alerts, state, commit = topic(1, "alerts"), place.state(), KafkaProducer.commit_transaction

    def unanswered(producer: KafkaProducer) -> None:
        if taken:
            commit(producer)
        raise KafkaTimeoutError("no answer")

    with place.member() as joined:
        whose = joined.joined(4)
        state.write({(place.zero, "small"): b"old"}, {place.zero: 1}, whose)
        with monkeypatch.context() as patch:
            patch.setattr(KafkaProducer, "commit_transaction", unanswered)
            with pytest.raises(UndecidedError, match="did not come through"):
                state.write({(place.zero, "small"): b"new"}, {place.zero: 2}, whose, [(alerts, ALERT)])
        assert state.read([place.zero]) == {place.zero: {"small": b"new" if taken else b"old"}}
        assert len(all_on(place.servers, alerts, "read_committed")) == taken
        state.write({(place.zero, "small"): b"newer"}, {place.zero: 3}, whose)
    assert state.read([place.zero]) == {place.zero: {"small": b"newer"}}


def test_a_process_that_sleeps_in_its_transaction_is_given_up_and_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_java()
    broker = Broker(tmp_path / "kafka", "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n")
    monkeypatch.setattr(kafka_transaction, "SPARE_MS", -35_000)  # so that the broker waits 5 s
    try:
        broker.start()
        write(broker.servers, "plant", [{"value": b"{}"}])
        place = Place(broker.servers, "plant")
        sleeper, heir, found = place.state("sleeper", timeout_s=40), place.state("heir", timeout_s=40), list[Any]()
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
        with place.member() as second, ThreadPoolExecutor(1) as beside:
            joins = beside.submit(second.joined, 2)  # each gets on only while it is polled
            while len(first.consumer.assignment()) != 2 or not joins.done():
                first.poll()
            joins.result()
            with pytest.raises(FencedError, match="IllegalGeneration"):
                state.write({(place.zero, "small"): b"zombie"}, {place.zero: 2}, old, [(alerts, ALERT)])
            assert "IllegalGeneration" in str(state.problem)
            assert place.state("b").read([place.zero]) == {place.zero: {"small": b"first"}}
            state.write({(place.zero, "small"): b"again"}, {place.zero: 3}, first.consumer.group_metadata())
    assert state.problem is None
    assert place.state("c").read([place.zero]) == {place.zero: {"small": b"again"}}
    assert all_on(place.servers, alerts, "read_committed") == []


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
from connectors.kafka.transaction import FencedError

servers, source, alerts = sys.argv[1:]
place = Place(servers, source)
state = place.state("zombie")
with place.member(session_ms=6000) as joined:
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
                assert all_on(place.servers, alerts, "read_committed") == []
                assert committed(place.servers, place.group, place.source) == 2
            tell.write("\n")
            tell.flush()
            assert said.readline() == "back\n"
        finally:
            zombie.kill()
    assert heir.read([place.zero]) == {place.zero: {"small": b"back"}}
    assert len(all_on(place.servers, alerts, "read_committed")) == 1


def test_an_alert_topic_that_is_gone_is_named_and_the_state_is_written_without_it(tmp_path: Path) -> None:
    require_java()
    broker = Broker(tmp_path / "kafka", "auto.create.topics.enable=false\n")
    try:
        broker.start()
        admin, one = KafkaAdminClient(bootstrap_servers=broker.servers), {"num_partitions": 1, "replication_factor": 1}
        admin.create_topics(dict.fromkeys(["plant", "alerts", "others"], one), wait_for_metadata=True)
        place = Place(broker.servers, "plant")
        state, both = place.state(timeout_s=8), [("others", ALERT), ("alerts", ALERT)]
        with place.member() as joined:
            whose = joined.joined()
            place.state("b").write({(place.zero, "small"): b"made"}, {place.zero: 0}, whose)
            state.write({(place.zero, "small"): b"first"}, {place.zero: 1}, whose, both)
            admin.delete_topics(["alerts"])
            for _ in range(2):  # the client has seen it there, and has not
                with pytest.raises(RefusedTopicError, match="alerts takes no messages: it is not there") as refused:
                    state.write({(place.zero, "small"): b"never"}, {place.zero: 2}, whose, both)
                assert refused.value.topic == "alerts"
            state.write({(place.zero, "small"): b"second"}, {place.zero: 2}, whose, both[:1])
        assert state.read([place.zero]) == {place.zero: {"small": b"second"}}
        assert len(all_on(broker.servers, "others", "read_committed")) == 2
        admin.close()
        place.close()
    finally:
        broker.stop()


def test_a_broker_that_goes_and_comes_back_costs_one_try_and_leaves_no_thread_behind(own_kafka: Broker) -> None:
    own_kafka.start()
    write(own_kafka.servers, "plant", [{"value": b"{}"}])
    place = Place(own_kafka.servers, "plant")
    state, letters = place.state(timeout_s=4), DeadLetters("g.plant.dlq", {"bootstrap.servers": own_kafka.servers})
    letter = Letter("plant", 0, 0, None, b"{}", (), -1, "json", "no JSON")
    until_written(letters, [letter])
    with place.member() as joined:
        whose = joined.joined()
        wait_for(lambda: _written(joined, state, {(place.zero, "small"): b"before"}, {place.zero: 1}))
        own_kafka.stop()
        began = time.monotonic()
        with pytest.raises(StateTopicError, match=r"g.plant.state"):
            state.write({(place.zero, "small"): b"lost"}, {place.zero: 2}, whose)
        assert time.monotonic() - began < 15 and state.problem is not None
        assert letters.send([letter]) == [False]
        own_kafka.start()
        wait_for(lambda: _written(joined, state, {(place.zero, "small"): b"after"}, {place.zero: 3}))
    assert place.state("b").read([place.zero]) == {place.zero: {"small": b"after"}}
    place.close()
    letters.close()
    wait_for(lambda: not any("producer" in thread.name for thread in threading.enumerate()))


def _written(joined: Member, state: StateTopic, *what: Any) -> bool:
    joined.poll()
    try:
        state.write(*what, joined.consumer.group_metadata())
    except (StateTopicError, FencedError, UndecidedError):
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
