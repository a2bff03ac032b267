"""Dead letters on a real broker: however large the message and however slow the broker, each is written, and once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from conftest import Broker, all_on
from test_kafka import START_MS, until_written

from connectors.kafka import dead_letters, letters, returns
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.letters import LetterBox
from connectors.kafka.returns import Returns
from connectors.sink import SinkError
from connectors.source import SourceError

pytestmark = pytest.mark.kafka

Topic = Callable[..., str]
LARGE = 300_000


def letter(
    offset: int = 0, key: bytes | None = None, value: bytes | None = b"v", headers: Any = (), partition: int = 0
) -> Letter:
    return Letter("plant", partition, offset, key, value, headers, START_MS, "malformed", "why " * 200)


@pytest.mark.parametrize("most", [2_000, 60_000, 200_000])
def test_what_the_topic_does_not_take_whole_is_cut_until_it_does(kafka: str, topic: Topic, most: int) -> None:
    dead = topic(name="dead", **{"max.message.bytes": str(most), "retention.ms": "-1"})
    trace = [("first", b"1"), ("trace", b"h" * LARGE), ("last", b"2")]
    given = [
        letter(0, b"k" * LARGE, None),  # a tombstone
        letter(1, b"k", b"v" * LARGE),
        letter(2, b"k", b"v", trace),
        letter(3, b"k" * LARGE, b"v" * LARGE, trace),
        letter(4, b"k", b"v", [("first", b"1")]),
        letter(5, b"", b""),
    ]
    writer = DeadLetters(dead, {"bootstrap.servers": kafka})
    until_written(writer, given)
    assert writer.problem is None
    writer.close()
    found = {int(dict(each.headers)["__streams.errors.offset"]): each for each in all_on(kafka, dead)}
    marks = {at: {n: v for n, v in each.headers if n.startswith("heed.truncated")} for at, each in found.items()}
    size = str(LARGE).encode()
    headers = str(LARGE + len("firsttracelast") + 2).encode()
    assert marks == {
        0: {"heed.truncated.key": size},
        1: {"heed.truncated": size},
        2: {"heed.truncated.headers": headers},
        3: {"heed.truncated": size, "heed.truncated.key": size, "heed.truncated.headers": headers},
        4: {},
        5: {},
    }
    assert found[0].value is None and 0 < len(found[0].key) < LARGE and set(found[0].key) == {ord("k")}
    assert found[1].key == b"k" and 0 < len(found[1].value) < LARGE
    assert found[2].key == b"k" and found[2].value == b"v" and found[2].headers[0] == ("first", b"1")
    assert found[4].headers[0] == ("first", b"1") and (found[5].key, found[5].value) == (b"", b"")
    assert all(dict(each.headers)["heed.reason"] == b"malformed" for each in found.values())


def offsets(servers: str, dead: str) -> Counter[str]:
    """Which letters there are, once all that was under way has arrived."""
    told = (dict(record.headers) for record in all_on(servers, dead))
    names = ("partition", "offset")
    return Counter("/".join(each[f"__streams.errors.{name}"].decode() for name in names) for each in told)


@pytest.fixture
def connected(own_kafka: Broker) -> Iterator[DeadLetters]:
    """A writer that has written one letter, 0/999, to the topic dead of a broker that can be paused."""
    own_kafka.start()
    writer = DeadLetters("dead", {"bootstrap.servers": own_kafka.servers})
    until_written(writer, [letter(999)])
    yield writer
    writer.close()


def unanswered(writer: DeadLetters, broker: Broker, letters: Sequence[Letter]) -> None:
    """Send them to a broker that stands still until the writer has given up waiting."""
    with pytest.MonkeyPatch.context() as patch, broker.paused():
        patch.setattr(dead_letters, "_WAIT_S", 0.3)
        assert not any(writer.send(letters)) and "no answer" in str(writer.problem)


def test_what_is_under_way_is_not_sent_anew(own_kafka: Broker, connected: DeadLetters) -> None:
    many = [letter(n, value=b"v" * 4500) for n in range(300)]
    unanswered(connected, own_kafka, many)
    until_written(connected, many)
    until_written(connected, [letter(5000)])
    told = offsets(own_kafka.servers, "dead")
    assert len(told) == told.total() == 302


def test_a_partition_that_comes_again_leaves_the_others_alone(own_kafka: Broker, connected: DeadLetters) -> None:
    held = [letter(n, value=b"v" * 4500) for n in range(200)]
    unanswered(connected, own_kafka, held)
    for n in range(5):  # another partition goes on meanwhile
        until_written(connected, [letter(n, partition=1)])
    until_written(connected, held)
    told = offsets(own_kafka.servers, "dead")
    assert len(told) == told.total() == 206


def test_what_never_arrives_is_sent_with_another_producer(
    kafka: str, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that has stopped working holds nothing for ever."""
    writer = DeadLetters(topic(name="dead"), {"bootstrap.servers": kafka})
    until_written(writer, [letter(0)])
    stuck = writer._producer
    assert stuck is not None
    monkeypatch.setattr(dead_letters, "_WAIT_S", 0.2)
    stuck._accumulator.ready = lambda *_, **__: (set(), 1.0, False)  # type: ignore[method-assign]
    assert [writer.send([letter(1)]), writer.send([letter(1)])] == [[False], [False]]
    assert writer._producer is not stuck
    monkeypatch.setattr(dead_letters, "_WAIT_S", 3.0)
    until_written(writer, [letter(1)])
    writer.close()


def test_reading_ends_where_brokers_go_away_in_the_middle_of_it(
    own_kafka: Broker, connected: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_written(connected, [letter(n, value=b"v" * 4500) for n in range(1500)])  # more than one fetch brings
    monkeypatch.setattr(letters, "_QUIET", 2)
    monkeypatch.setattr(letters, "_ASK_MS", 1_000)
    box = LetterBox("dead", {"bootstrap.servers": own_kafka.servers})
    reading = box.read()
    assert next(reading).letter.offset == 999
    with own_kafka.paused(), pytest.raises(SourceError, match="the dead letters in dead can't be read: KafkaTimeout"):
        for _ in reading:
            pass
    assert len(list(box.read())) == 1501
    box.close()


def test_sending_back_ends_where_no_broker_answers(own_kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"delivery_timeout_ms": 10_000, "request_timeout_ms": 8_000}
    monkeypatch.setattr(returns, "_WRITING", {**returns._WRITING, **short})
    monkeypatch.setattr(returns, "_ASK_S", 5.0)
    own_kafka.start()
    client = {"bootstrap.servers": own_kafka.servers}
    writer = DeadLetters("plant.dead", client)
    maker = DeadLetters("plant", client)
    until_written(maker, [letter(0)])  # makes the topic
    until_written(writer, [letter(n, value=b"%d" % n) for n in range(3)])
    maker.close()
    writer.close()
    box, refused = LetterBox("plant.dead", client), list[str]()
    found = list(box.read())
    back = Returns(box, client, lambda dead, why: refused.append(why))
    back.send(found[0])
    back.flush()
    assert back.sent.total() == 1 and refused == []
    own_kafka.stop()
    back.send(found[1])
    back.send(found[2])
    began = time.monotonic()
    with pytest.raises(SinkError, match=r"plant.dead can't be sent back"):
        back.flush()
    assert time.monotonic() - began < 40 and back.sent.total() == 1 and len(refused) == 2
    back.close()
