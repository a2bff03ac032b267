"""`heed dlq`: dead letters are shown readably and sent back as they came, each once; on a real broker."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import all_on, wait_for
from kafka import KafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient
from typer.testing import CliRunner

import stream.cli
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.letters import LetterBox
from connectors.kafka.returns import _ranges
from stream.app.dead_letters import parse_time, readable

pytestmark = pytest.mark.kafka

AT_MS = 1_700_000_000_000
Topic = Callable[..., str]


class Plant:
    """Topics with dead letters in them, and a configuration that names them."""

    def __init__(self, servers: str, source: str, folder: Path) -> None:
        self.servers, self.source = servers, source
        self.group = f"g.{uuid.uuid4().hex[:8]}"
        self.config = folder / "heed.yaml"
        client = {"bootstrap.servers": servers, "group.id": self.group}
        self.config.write_text(json.dumps({"sources": [{"type": "kafka", "topics": [source], "client": client}]}))
        self.letters = DeadLetters(f"{self.group}.dlq", {"bootstrap.servers": servers})

    def write(self, *letters: tuple[str, bytes | None, bytes | None], at_ms: int = AT_MS) -> None:
        """Letters as heed writes them: reason, key, value."""
        headers = [("trace", b"\x00\xff")]
        made = [
            Letter(self.source, 0, 7 + n, key, value, headers, at_ms + n, reason, f"because of {n}")
            for n, (reason, key, value) in enumerate(letters)
        ]
        self._send(made)

    def put(self, topic: str, *values: bytes | None, key: bytes | None = None, at_ms: int = AT_MS) -> None:
        """Letters of messages of another topic."""
        made = [
            Letter(topic, 0, n, key, value, (), at_ms, "malformed", "because") for n, value in enumerate(values)
        ]  # fmt: skip
        self._send(made)

    def _send(self, made: list[Letter]) -> None:
        wait_for(lambda: all(self.letters.send(made)), 60)  # what is written already is not written again

    def heed(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(stream.cli.app, ["dlq", *arguments, "-c", str(self.config), "-o", "json"])

    def replayed(self, *arguments: str) -> tuple[Counter[str], str]:
        """What became of the letters where some can't be sent back, and what was said of it."""
        done = self.run("replay", *arguments)
        assert done.exit_code == 74, done.output
        counts: Counter[str] = Counter()
        for row in map(json.loads, done.stdout.splitlines()):
            counts[row["outcome"]] += row["count"]
        return counts, done.stderr

    def came_back(self) -> list[Any]:
        return all_on(self.servers, self.source)


def limit(admin: KafkaAdminClient, topic: str, size: int) -> None:
    """A topic takes messages of at most so many bytes from now on."""
    resource = ConfigResource("topic", topic, {"max.message.bytes": str(size)})
    admin.alter_configs([resource])
    wait_for(lambda: admin.describe_configs([resource])["topic"][topic]["max.message.bytes"]["value"] == str(size), 60)


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=kafka)) as client:
        yield client


@pytest.fixture
def plant(kafka: str, topic: Topic, tmp_path: Path, admin: KafkaAdminClient) -> Plant:
    keep = {"retention.ms": "-1"}  # the messages are old, and what is old the broker takes away
    made = Plant(kafka, topic(2, **keep), tmp_path)
    admin.create_topics(
        {f"{made.group}.dlq": {"num_partitions": 1, "replication_factor": 1, "configs": keep}}, wait_for_metadata=True
    )
    return made


def test_letters_are_shown_with_reason_origin_and_a_safe_excerpt(plant: Plant) -> None:
    assert plant.heed("show") == []
    long = json.dumps({"x": "y" * 1000}).encode()
    plant.write(("malformed", b"\xfek", b'{"a":\x1b[2J\xff'), ("empty", b"k", None), ("oversize", None, long))
    shown = plant.heed("show")
    assert [row["reason"] for row in shown] == ["malformed", "empty", "oversize"]
    first = shown[0]
    assert (first["topic"], first["partition"], first["offset"]) == (plant.source, 0, 7)
    assert first["time"] == "2023-11-14T22:13:20.000+00:00" and first["message"] == "because of 0"
    assert first["value"] == '{"a":\\x1b[2J\\xff' and first["key"] == "\\xfek" and not first["sent_back"]
    assert shown[1]["value"] is None and shown[2]["bytes"] == len(long) and len(shown[2]["value"]) == 101
    assert [row["reason"] for row in plant.heed("show", "--reason", "empty", "--reason", "oversize")] == [
        "empty",
        "oversize",
    ]
    assert [row["offset"] for row in plant.heed("show", "--limit", "2")] == [8, 9]
    people = CliRunner().invoke(stream.cli.app, ["dlq", "show", "-c", str(plant.config)]).stdout
    assert f"malformed  {plant.source}/0 @ 7  key \\xfek" in people and "\x1b" not in people and "no payload" in people


def test_letters_go_back_as_they_came_and_only_once(plant: Plant) -> None:
    plant.write(*(("malformed" if n % 2 else "wrong_type", b"k%d" % n, b"v%d" % n) for n in range(6)))
    dry = plant.heed("replay", "--dry-run")
    assert sum(row["count"] for row in dry) == 6 and {row["outcome"] for row in dry} == {"would_send"}
    assert plant.came_back() == []
    [row] = plant.heed("replay", "--reason", "malformed")
    assert row == {
        "letters": f"{plant.group}.dlq", "topic": plant.source, "reason": "malformed", "outcome": "sent", "count": 3,
    }  # fmt: skip
    back = plant.came_back()
    assert [(record.key, record.value, record.partition) for record in back] == [
        (b"k%d" % n, b"v%d" % n, 0) for n in (1, 3, 5)
    ]
    assert [record.timestamp for record in back] == [AT_MS + n for n in (1, 3, 5)]
    assert all(record.headers == [("trace", b"\x00\xff")] for record in back)
    assert [row["sent_back"] for row in plant.heed("show")] == [False, True] * 3
    assert [row["count"] for row in plant.heed("replay")] == [3]  # those of the other reason
    assert plant.heed("replay") == []
    plant.write(("malformed", b"new", b"v"))
    assert [row["count"] for row in plant.heed("replay")] == [1]
    assert len(plant.came_back()) == 7


def test_a_span_of_time_and_letters_that_are_not_whole(plant: Plant) -> None:
    plant.write(*(("wrong_type", None, b"%d" % n) for n in range(4)))
    plant.write(("unreadable", None, None))
    start, end = f"{(AT_MS + 1) / 1000}", "2023-11-14T22:13:20.003Z"
    assert [row["count"] for row in plant.heed("replay", "--from", start, "--to", end)] == [2]
    assert [record.value for record in plant.came_back()] == [b"1", b"2"]
    rest = {row["outcome"]: row["count"] for row in plant.heed("replay")}
    assert rest == {"sent": 2, "cut": 1}
    wrong = CliRunner().invoke(stream.cli.app, ["dlq", "replay", "-c", str(plant.config), "--from", "noon"])
    assert wrong.exit_code == 2


def test_what_others_wrote_among_the_letters_is_shown_and_never_sent(plant: Plant, kafka: str) -> None:
    plant.write(("empty", b"k", None))
    producer = KafkaProducer(bootstrap_servers=kafka)
    producer.send(f"{plant.group}.dlq", value=b"hello")
    producer.send(f"{plant.group}.dlq", value=b"[[0, 99999999999]", headers=[("heed.receipt", b"1")])
    producer.flush()
    producer.close()
    assert [row["reason"] for row in plant.heed("show")] == ["empty", "unknown"]
    assert {row["outcome"]: row["count"] for row in plant.heed("replay")} == {"sent": 1, "cut": 1}


def test_letters_that_cannot_go_back_hold_up_no_others(plant: Plant, topic: Topic, admin: KafkaAdminClient) -> None:
    """A topic that is gone and one that takes less than it did, amid others, over more than one receipt."""
    gone, small = f"gone.{plant.group}", topic(name="small", **{"max.message.bytes": "1000", "retention.ms": "-1"})
    for n in range(3):
        plant.write(*(("malformed", None, b"%d" % (n * 200 + m)) for m in range(200)))
        plant.put(gone, b"1", b"2")
        plant.put(small, b"x" * 2000, b"y", b"z" * 2000)
    began = time.monotonic()
    counts, said = plant.replayed()
    assert time.monotonic() - began < 50, "nobody waits for each letter that cannot go back"
    assert counts == {"sent": 603, "failed": 12}
    last = said.splitlines()[-1]
    assert last.startswith(f"heed: {plant.group}.dlq: 603 letters sent back, 12 not (6 to {gone}: UnknownTopic")
    assert f"6 to {small}: MessageSizeTooLarge" in last
    assert f"{plant.group}.dlq/0 @ 200: not sent back to {gone}/0 (@ 0): UnknownTopicOrPartitionError: no such" in said
    assert sum("not sent back" in line for line in said.splitlines()) == 12
    assert gone not in admin.list_topics()
    counts, _ = plant.replayed()
    assert counts == {"failed": 12} and len(plant.came_back()) == 600, "each once"
    shown = plant.heed("show", "--limit", "1000")
    assert Counter((row["topic"], row["sent_back"]) for row in shown) == {
        (plant.source, True): 600, (gone, False): 6, (small, False): 6, (small, True): 3,
    }  # fmt: skip
    limit(admin, small, 100_000)
    assert [row["count"] for row in plant.heed("replay", "--topic", small)] == [6]
    counts, _ = plant.replayed()
    assert counts == {"failed": 6}


def test_only_the_first_letters_for_a_topic_that_is_gone_are_told_one_by_one(plant: Plant) -> None:
    gone = f"gone.{plant.group}"
    plant.put(gone, *[b"v"] * 60)
    counts, said = plant.replayed()
    assert counts == {"failed": 60} and len(said.splitlines()) == 21 and f"60 not (60 to {gone}" in said


def test_a_letter_that_a_broker_refuses_does_not_take_its_batch_with_it(plant: Plant, topic: Topic) -> None:
    fresh = topic(name="fresh", **{"message.timestamp.before.max.ms": "86400000"})
    now = round(time.time() * 1000)
    plant.put(fresh, b"old")
    plant.put(fresh, b"new", b"newer", at_ms=now)
    plant.put(fresh, b"older", at_ms=AT_MS - 1000)
    plant.put(fresh, b"newest", at_ms=now)
    counts, said = plant.replayed()
    assert counts == {"sent": 3, "failed": 2} and "InvalidTimestamp" in said
    assert plant.replayed()[0] == {"failed": 2}


def test_where_no_receipt_can_be_written_nothing_is_sent(plant: Plant, admin: KafkaAdminClient) -> None:
    plant.write(("empty", b"k", None), ("malformed", None, b"v"))
    limit(admin, f"{plant.group}.dlq", 20)
    counts, said = plant.replayed()
    assert counts == {} and "no receipt can be written" in said and plant.came_back() == []
    limit(admin, f"{plant.group}.dlq", 1000)
    assert sum(row["count"] for row in plant.heed("replay")) == 2


def test_scattered_letters_have_receipts_that_their_topic_takes(plant: Plant, admin: KafkaAdminClient) -> None:
    plant.write(*(("malformed" if n % 2 else "wrong_type", None, b"%d" % n) for n in range(800)))
    limit(admin, f"{plant.group}.dlq", 2000)
    assert [row["count"] for row in plant.heed("replay", "--reason", "malformed")] == [400]
    assert plant.heed("replay", "--reason", "malformed") == [] and len(plant.came_back()) == 400


def test_letters_of_one_topic_can_be_meant(plant: Plant, topic: Topic) -> None:
    other = topic(name="other")
    plant.write(("malformed", None, b"a"))
    plant.put(other, b"b", b"c")
    assert [row["topic"] for row in plant.heed("show", "--topic", other)] == [other, other]
    assert len(plant.heed("show", "--topic", other, "--topic", plant.source)) == 3
    assert plant.heed("show", "--topic", other, "--reason", "empty") == []
    [row] = plant.heed("replay", "--topic", other)
    assert (row["topic"], row["count"]) == (other, 2) and plant.came_back() == []


def test_letters_of_several_partitions_are_shown_by_their_time_and_followed_once(
    plant: Plant, kafka: str, admin: KafkaAdminClient
) -> None:
    name = f"{plant.group}.dlq"
    admin.create_partitions({name: 3})
    wait_for(lambda: len(admin.describe_topics([name])[0]["partitions"]) == 3, 60)
    producer = KafkaProducer(bootstrap_servers=kafka)

    def put(partition: int, n: int, at_ms: int) -> None:
        headers = [("heed.reason", b"malformed"), ("__streams.errors.offset", b"%d" % n)]
        producer.send(name, b"v", partition=partition, timestamp_ms=at_ms, headers=headers)
        producer.flush()

    for n in (0, 3, 6, 1, 4, 7, 2, 5, 8):
        put(n % 3, n, AT_MS + n)
    put(2, 9, AT_MS + 4)  # late, and of the same time as another
    order = [0, 1, 2, 3, 4, 9, 5, 6, 7, 8]
    assert [row["offset"] for row in plant.heed("show")] == order
    assert [row["offset"] for row in plant.heed("show", "--limit", "4")] == [5, 6, 7, 8]
    with closing(LetterBox(name, {"bootstrap.servers": kafka})) as box:
        assert len(list(box.read())) == 10
        put(0, 10, AT_MS)  # older than those that were shown
        put(1, 11, AT_MS + 99)
        followed: Counter[int] = Counter()
        began = time.monotonic()

        def over() -> bool:
            return time.monotonic() - began > (3 if len(followed) >= 2 else 60)

        for dead in box.follow(over):
            followed[dead.letter.offset] += 1
    assert followed == {10: 1, 11: 1}
    producer.close()


@pytest.mark.parametrize("command", ["show", "replay"])
def test_settings_that_can_not_be_are_told_as_everywhere(plant: Plant, command: str) -> None:
    for wrong in ("fetch.min.byte", "acks"):
        done = plant.run(command, "--set", f"sources.0.client={{bootstrap.servers: 'a:1', {wrong}: 1}}")
        assert done.exit_code == 78 and f"heed: sources[0]: client.{wrong}: unknown setting" in done.stderr
    done = plant.run(command, "--set", "sources.0.dead_letter_topic=no topic")
    assert done.exit_code == 78 and "sources[0]: dead_letter 'no topic'" in done.stderr


def test_keys_that_only_the_other_client_has_are_left_out(plant: Plant) -> None:
    plant.write(("malformed", None, b"a"))
    config = json.loads(plant.config.read_text())
    config["sources"][0]["client_library"] = "confluent"
    config["sources"][0]["client"]["queued.min.messages"] = "1000"
    plant.config.write_text(json.dumps(config))
    assert [row["reason"] for row in plant.heed("show")] == ["malformed"]
    assert [row["count"] for row in plant.heed("replay")] == [1]


def test_a_letter_of_which_key_or_headers_were_cut_is_not_sent(plant: Plant, admin: KafkaAdminClient) -> None:
    plant.write(("malformed", None, b"v"))
    limit(admin, f"{plant.group}.dlq", 3000)
    plant.put(plant.source, None, key=b"k" * 5000)
    assert [row["cut"] for row in plant.heed("show")] == [False, True]
    assert {row["outcome"]: row["count"] for row in plant.heed("replay")} == {"sent": 1, "cut": 1}


def test_a_configuration_without_kafka_has_no_letters(tmp_path: Path) -> None:
    config = tmp_path / "heed.yaml"
    config.write_text("sources: [{type: stdin}]")
    done = CliRunner().invoke(stream.cli.app, ["dlq", "show", "-c", str(config)])
    assert done.exit_code == 78 and "kafka" in done.output


def test_offsets_are_kept_as_ranges() -> None:
    assert _ranges([5, 1, 2, 3, 9, 8]) == [(1, 3), (5, 5), (8, 9)]
    assert _ranges([]) == []


def test_bytes_are_made_readable() -> None:
    assert readable(b"a\r\n\x07\x9b\xe2\x80\xae") == "a\\r\\n\\x07\\x9b\\u202e"
    assert readable(b"x" * 500) == "x" * 100 + "…"
    assert parse_time("1.5") == 1_500_000_000
