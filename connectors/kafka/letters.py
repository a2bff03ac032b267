"""Reading dead letters, and the receipts among them that tell which were sent back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConfigurationError, KafkaError

from connectors.kafka.client import Client, Opening, Settings, consumer_settings, said
from connectors.kafka.dead_letters import ERRORS, TRUNCATED, Letter
from connectors.kafka.partitions import name as name_of
from connectors.kafka.quirks import make_no_topics, offsets
from connectors.source import SourceError, UnusableError

RECEIPT = "heed.receipt"  # header and key of a record that tells which letters of its partition were sent back
CHUNK = 500  # letters sent back before their receipt is written
_OWN = ("heed.reason", TRUNCATED, TRUNCATED + ".key", TRUNCATED + ".headers")
_POLL_MS = 500
_QUIET, _ASK_MS = 20, 10_000  # polls in which nothing came, until brokers are asked; and how long they have to answer
_READING: Settings = {
    "group_id": None,
    "group_instance_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": 10_000,
    "metrics_enabled": False,
}


@dataclass(frozen=True, slots=True)
class Dead:
    """A letter where it lies; ``cut`` where the letter holds only a part of the message, or none of it."""

    letter: Letter
    partition: int  # of the dead-letter topic
    offset: int
    cut: bool


class Ranges:
    """Offsets of letters that were sent back, by partition."""

    def __init__(self) -> None:
        self._sent: dict[int, set[int]] = defaultdict(set)

    def add(self, partition: int, value: bytes | None) -> None:
        """Take note of a receipt; what is none is left."""
        try:
            pairs = msgspec.json.decode(value or b"", type=list[tuple[int, int]])
        except msgspec.MsgspecError:
            return
        for first, last in pairs:
            self._sent[partition].update(range(first, min(last, first + CHUNK) + 1))

    def __contains__(self, dead: Dead) -> bool:
        return dead.offset in self._sent[dead.partition]


class LetterBox:
    """The dead letters of one topic; ``client`` holds settings of kafka-python. Raises SourceError."""

    def __init__(self, topic: str, client: Mapping[str, object]) -> None:
        self.topic, self._servers = topic, str(client.get("bootstrap.servers"))
        self.sent_back = Ranges()  # as far as was read
        self._read_to: dict[TopicPartition, int] = {}  # the end of the last whole reading
        self._consumer = opened(Opening().consumer, {**consumer_settings(client), **_READING}, self._servers)
        make_no_topics(self._consumer)

    def read(self) -> Iterator[Dead]:
        """All letters that are there now, by partition in their order. A receipt comes behind its letters.

        Raises SourceError.
        """
        return self._told(self._read_all)

    def follow(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Dead]:
        """Letters that come behind those of the last whole reading, until ``stop``; raises SourceError."""
        return self._told(lambda consumer: self._follow(consumer, stop))

    def partitions(self, topic: str) -> set[int]:
        """The partitions of a topic; none where there is no such topic, or none that this user may see."""
        return set(self._consumer.partitions_for_topic(topic) or ())

    def ask(self, timeout_s: float) -> None:
        """Raise KafkaError where no broker answers, SourceError where none leads one of the partitions."""
        self._check_led(self._ends(timeout_s * 1000)[1])

    def _told(self, read: Callable[[KafkaConsumer], Iterator[Dead]]) -> Iterator[Dead]:
        try:
            yield from read(self._consumer)
        except KafkaError as error:
            raise SourceError(f"the dead letters in {self.topic} can't be read: {said(error)}") from error

    def _ends(self, timeout_ms: float) -> tuple[dict[TopicPartition, int], list[TopicPartition]]:
        """Where partitions end, and those of which nobody knows. Raises KafkaError where no broker answers."""
        parts = [TopicPartition(self.topic, number) for number in sorted(self.partitions(self.topic))]
        ends = offsets(self._consumer, self._consumer.end_offsets, parts, timeout_ms)
        return ends, [part for part in parts if part not in ends]

    def _read_all(self, consumer: KafkaConsumer) -> Iterator[Dead]:
        ends, unknown = self._ends(_ASK_MS)
        if not (ends or unknown):
            return
        consumer.assign(list(ends))
        consumer.seek_to_beginning(*ends)
        seen, quiet = dict.fromkeys(ends, 0), 0
        while any(seen[part] < end for part, end in ends.items()):
            polled = consumer.poll(timeout_ms=_POLL_MS)
            quiet = 0 if polled else quiet + 1
            if quiet % _QUIET == _QUIET - 1:
                self.ask(_ASK_MS / 1000)
            for at, records in polled.items():
                seen[at] = records[-1].offset + 1
                yield from self._letters(record for record in records if record.offset < ends[at])
            # The client's position runs ahead of what it has given; it tells of the end only where nothing comes.
            if not polled and all(consumer.position(part) >= end for part, end in ends.items()):
                break
        self._read_to = ends
        self._check_led(unknown)

    def _check_led(self, parts: Sequence[TopicPartition]) -> None:
        if parts:
            away = ", ".join(name_of(part) for part in parts)
            raise SourceError(f"no broker leads {away}: the dead letters there can't be read")

    def _follow(self, consumer: KafkaConsumer, stop: Callable[[], bool]) -> Iterator[Dead]:
        if not self._read_to:
            return
        consumer.assign(list(self._read_to))
        for part, end in self._read_to.items():
            consumer.seek(part, end)
        while not stop():
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                yield from self._letters(records)

    def _letters(self, records: Iterable[Any]) -> Iterator[Dead]:
        for record in records:
            if any(name == RECEIPT for name, _ in record.headers):
                self.sent_back.add(record.partition, record.value)
            else:
                yield _dead(record)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def _dead(record: Any) -> Dead:
    """What is not a letter of heed's is one without a source."""
    told = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    headers = [(name, value) for name, value in record.headers if not name.startswith(ERRORS) and name not in _OWN]
    reason = told.get("heed.reason", "unknown")
    partition, offset = (_whole(told.get(ERRORS + name)) for name in ("partition", "offset"))
    letter = Letter(
        told.get(ERRORS + "topic", ""), partition, offset, record.key, record.value, headers, record.timestamp, reason,
        told.get(ERRORS + "message", ""),
    )  # fmt: skip
    cut = any(name.startswith(TRUNCATED) for name in told) or reason == "unreadable" or not letter.topic
    return Dead(letter, record.partition, record.offset, cut)


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and text.isascii() else -1


def opened(opening: Callable[[Settings], Client], settings: Settings, servers: str) -> Client:
    """A client that has spoken to a broker. Raises SourceError, UnusableError where it refuses its settings."""
    try:
        return opening(settings)
    except Exception as error:  # what kafka-python does not like about its settings is of many kinds
        away = isinstance(error, KafkaError | OSError) and not isinstance(error, KafkaConfigurationError)
        raise (SourceError if away else UnusableError)(f"Kafka at {servers}: {error}") from error
