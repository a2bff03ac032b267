"""Reading dead letters, and sending them back to where they came from: each once, as receipts in their topic say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from connectors.fieldpath import Headers
from connectors.kafka_client import Opening, Settings, consumer_settings, producer_settings
from connectors.kafka_dead_letters import ERRORS, Letter
from connectors.kafka_quirks import drop
from connectors.sink import SinkError
from connectors.source import SourceError

RECEIPT = "heed.receipt"  # header and key of a record that tells which letters of its partition were sent back
_OWN = ("heed.reason", "heed.truncated")
_CHUNK = 500  # letters sent back before their receipt is written
_POLL_MS = 500
_READING: Settings = {
    "group_id": None,
    "group_instance_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": 10_000,
    "metrics_enabled": False,
}
_WRITING: Settings = {
    "acks": "all",
    "bootstrap_timeout_ms": 10_000,
    "max_block_ms": 10_000,
    "delivery_timeout_ms": 30_000,
    "request_timeout_ms": 10_000,
    "max_request_size": 32 << 20,
    "allow_auto_create_topics": False,
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
            self._sent[partition].update(range(first, min(last, first + _CHUNK) + 1))

    def __contains__(self, dead: Dead) -> bool:
        return dead.offset in self._sent[dead.partition]


class LetterBox:
    """The dead letters of one topic; ``client`` holds librdkafka's settings. Raises ValueError, SourceError."""

    def __init__(self, topic: str, client: Mapping[str, object]) -> None:
        self.topic, self._client = topic, client
        self._servers = str(client.get("bootstrap.servers"))
        self.sent_back = Ranges()  # as far as was read
        try:
            self._consumer = Opening().consumer({**consumer_settings(client), **_READING})
        except (KafkaError, OSError) as error:
            raise SourceError(f"Kafka at {self._servers}: {error}") from error

    def read(self, follow: bool = False, stop: Callable[[], bool] = lambda: False) -> Iterator[Dead]:
        """All letters from the first on, up to those that are there now, or until ``stop`` where it is to ``follow``.

        A letter's receipt comes behind it. Raises SourceError.
        """
        try:
            yield from self._read(self._consumer, follow, stop)
        except KafkaError as error:
            raise SourceError(f"the dead letters in {self.topic} can't be read: {error}") from error

    def _read(self, consumer: KafkaConsumer, follow: bool, stop: Callable[[], bool]) -> Iterator[Dead]:
        numbers = sorted(consumer.partitions_for_topic(self.topic) or ())
        parts = [TopicPartition(self.topic, number) for number in numbers]
        if not parts:
            return
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        seen = dict.fromkeys(parts, 0)
        while not stop() and (follow or any(seen[part] < ends[part] for part in parts)):
            polled = consumer.poll(timeout_ms=_POLL_MS)
            for at, records in polled.items():
                seen[at] = records[-1].offset + 1
                yield from self._letters(record for record in records if follow or record.offset < ends[at])
            # The client's position runs ahead of what it has given; it tells of the end only where nothing comes.
            if not polled and not follow and all(consumer.position(part) >= ends[part] for part in parts):
                return

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
    cut = "heed.truncated" in told or reason == "unreadable" or not letter.topic
    return Dead(letter, record.partition, record.offset, cut)


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and text.isascii() else -1


class Returns:
    """Sends letters back to their topics and writes receipts; a break between the two sends a few letters again."""

    def __init__(self, box: LetterBox, client: Mapping[str, object]) -> None:
        self._topic = box.topic
        try:
            self._producer: KafkaProducer = Opening().producer({**producer_settings(client), **_WRITING})
        except (KafkaError, OSError) as error:
            raise SourceError(f"Kafka at {client.get('bootstrap.servers')}: {error}") from error
        self._waiting: list[Dead] = []
        self.sent: Counter[tuple[str, str]] = Counter()  # by topic and reason

    def send(self, dead: Dead) -> None:
        """Send one back, sooner or later; raises SinkError."""
        self._waiting.append(dead)
        if len(self._waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send what waits, and write the receipts once all of it has arrived; raises SinkError."""
        waiting, self._waiting = self._waiting, []
        try:
            self._arrive([self._start(dead.letter) for dead in waiting])
            self._arrive([self._receipt(partition, offsets) for partition, offsets in _by_partition(waiting).items()])
        except KafkaError as error:
            drop(self._producer)
            raise SinkError(f"letters can't be sent back: {error}") from error
        self.sent.update((dead.letter.topic, dead.letter.reason) for dead in waiting)

    def close(self) -> None:
        """Let go of the connection; what waits is not sent."""
        drop(self._producer)

    def _start(self, letter: Letter) -> Any:
        numbers = self._producer.partitions_for(letter.topic) or set()
        value = b"" if letter.value is None and letter.key is None else letter.value  # the client wants one of both
        return self._producer.send(
            letter.topic,
            value=value,
            key=letter.key,
            headers=_given(letter.headers),
            partition=letter.partition if letter.partition in numbers else None,
            timestamp_ms=letter.timestamp_ms if letter.timestamp_ms >= 0 else None,
        )

    def _receipt(self, partition: int, offsets: Sequence[int]) -> Any:
        headers = [(RECEIPT, b"1")]
        value = msgspec.json.encode(_ranges(offsets))
        return self._producer.send(self._topic, value=value, key=RECEIPT.encode(), headers=headers, partition=partition)

    def _arrive(self, futures: Sequence[Any]) -> None:
        self._producer.flush(40)
        for future in futures:
            future.get(0)


def _given(headers: Headers) -> list[tuple[str, bytes]]:
    return [(name, value or b"") for name, value in headers]


def _by_partition(dead: Iterable[Dead]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for each in dead:
        found[each.partition].append(each.offset)
    return found


def _ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours."""
    ranges: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if ranges and offset == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], offset)
        else:
            ranges.append((offset, offset))
    return ranges
