"""`heed dlq`: dead letters are shown readably and sent back as they came, each once; on a real broker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from typer.testing import CliRunner

import stream.cli
from connectors.kafka_dead_letters import DeadLetters, Letter
from connectors.kafka_letters import _ranges
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
        assert all(self.letters.send(made))

    def heed(self, *arguments: str) -> Any:
        done = CliRunner().invoke(stream.cli.app, ["dlq", *arguments, "-c", str(self.config), "-o", "json"])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def came_back(self) -> list[Any]:
        consumer = KafkaConsumer(
            self.source, bootstrap_servers=self.servers, auto_offset_reset="earliest", group_id=None,
            consumer_timeout_ms=1500,
        )  # fmt: skip
        records = list(consumer)
        consumer.close()
        return records


@pytest.fixture
def plant(kafka: str, topic: Topic, tmp_path: Path) -> Plant:
    return Plant(kafka, topic(2), tmp_path)


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
