"""Sending dead letters back to where they came from: each once, and none is held up by another that can't be sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    RetriableError,
    UnknownTopicOrPartitionError,
)

from connectors.formats.fieldpath import Headers
from connectors.kafka.client import Opening, Settings, producer_settings, said
from connectors.kafka.dead_letters import TOO_LARGE, Letter, outcome
from connectors.kafka.letters import CHUNK, RECEIPT, Dead, LetterBox, opened
from connectors.kafka.quirks import drop, flush, make_no_topics
from connectors.sink import SinkError

NO_TOPIC = "no such topic, or none that this user may see"
_OF_A_LETTER = (
    *TOO_LARGE,
    InvalidRecordError,
    InvalidTimestampError,
    ValueError,
    TypeError,
)  # the next may fare better
_RANGES = 50  # in one receipt, so that it fits wherever letters do
_WAIT_S = 40.0
_ASK_S = 10.0
_WRITING: Settings = {
    "acks": "all",
    "enable_idempotence": False,  # an idempotent producer is of no more use after one message that was refused
    "max_in_flight_requests_per_connection": 1,  # so order is kept
    "bootstrap_timeout_ms": 10_000,
    "max_block_ms": 10_000,
    "delivery_timeout_ms": 30_000,
    "request_timeout_ms": 10_000,
    "max_request_size": 32 << 20,
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}


class Returns:
    """Sends letters back to their topics and writes receipts; a break between the two sends a few letters again.

    ``refused`` is told of each that can't be sent back, and why: it gets no receipt. Raises SourceError.
    """

    def __init__(self, box: LetterBox, client: Mapping[str, object], refused: Callable[[Dead, str], None]) -> None:
        self._box, self._topic, self._refused = box, box.topic, refused
        settings = {**producer_settings(client), **_WRITING}
        self._producer: KafkaProducer = opened(Opening().producer, settings, str(client.get("bootstrap.servers")))
        make_no_topics(self._producer)
        self._waiting: list[Dead] = []
        self._partitions: dict[str, set[int]] = {}  # by topic
        self._hopeless: dict[str, Exception] = {}  # by topic, why no more is sent there
        self._may_note = False
        self.sent: Counter[tuple[str, str]] = Counter()  # by topic and reason

    def send(self, dead: Dead) -> None:
        """Send one back, sooner or later; raises SinkError."""
        self._waiting.append(dead)
        if len(self._waiting) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send what waits, and write receipts for all that has arrived. Raises SinkError where no broker answers."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._check_receipts(waiting[0].partition)
        errors = self._tried(waiting)
        for at, error in enumerate(errors):
            if _of_its_batch(error):
                (errors[at],) = self._tried(waiting[at : at + 1])
        arrived = []
        for dead, error in zip(waiting, errors, strict=True):
            if error is None:
                arrived.append(dead)
            else:
                self._refused(dead, said(error))
        self._note(arrived)
        self._check_brokers(errors)

    def close(self) -> None:
        """Let go of the connection; what waits is not sent."""
        drop(self._producer)

    def _tried(self, letters: Sequence[Dead]) -> list[Exception | None]:
        """What became of each: None, or the error."""
        started = [self._start(dead.letter) for dead in letters]
        errors = self._arrived(started)
        for dead, error in zip(letters, errors, strict=True):
            if error is not None and not isinstance(error, _OF_A_LETTER) and not _of_its_batch(error):
                self._hopeless.setdefault(dead.letter.topic, error)
        return errors

    def _arrived(self, started: Sequence[Any]) -> list[Exception | None]:
        flush(self._producer, started, _WAIT_S)
        return [outcome(each, _WAIT_S) for each in started]

    def _start(self, letter: Letter) -> Any:
        try:
            partition = letter.partition if letter.partition in self._open(letter.topic) else None
            headers = _given(letter.headers)
            return self._producer.send(letter.topic, headers=headers, partition=partition, **letter.sent())
        except (KafkaError, ValueError, TypeError) as error:
            return error

    def _open(self, topic: str) -> set[int]:
        """The partitions of a topic; raises KafkaError where nothing can be sent there."""
        if topic in self._hopeless:
            raise self._hopeless[topic]
        if topic not in self._partitions:
            self._partitions[topic] = self._box.partitions(topic)
        if not self._partitions[topic]:
            raise UnknownTopicOrPartitionError(NO_TOPIC)
        return self._partitions[topic]

    def _note(self, arrived: Sequence[Dead]) -> None:
        """Write receipts of these."""
        self.sent.update((dead.letter.topic, dead.letter.reason) for dead in arrived)
        started = []
        for partition, offsets in _by_partition(arrived).items():
            ranges = _ranges(offsets)
            started += [self._receipt(partition, ranges[at : at + _RANGES]) for at in range(0, len(ranges), _RANGES)]
        for error in self._arrived(started):
            if error is not None:
                said_what = f"{len(arrived)} letters of {self._topic} were sent back, and not all could be noted"
                raise SinkError(f"{said_what}: {said(error)}") from error

    def _check_receipts(self, partition: int) -> None:
        """Write an empty one first: who can't write receipts would send the same letters again with each run."""
        if self._may_note:
            return
        (error,) = self._arrived([self._receipt(partition, [])])
        if error is not None:
            raise SinkError(f"nothing was sent back: no receipt can be written to {self._topic}: {said(error)}")
        self._may_note = True

    def _receipt(self, partition: int, ranges: Sequence[tuple[int, int]]) -> Any:
        value, headers = msgspec.json.encode(ranges), [(RECEIPT, b"1")]
        try:
            return self._producer.send(
                self._topic, value=value, key=RECEIPT.encode(), headers=headers, partition=partition
            )
        except KafkaError as error:
            return error

    def _check_brokers(self, errors: Sequence[Exception | None]) -> None:
        """Raise SinkError where nothing arrives, as nobody is there to take it."""
        if None in errors or not any(isinstance(error, RetriableError) for error in errors):
            return
        try:
            self._box.ask(_ASK_S)
        except KafkaError as error:
            raise SinkError(f"letters of {self._topic} can't be sent back: {said(error)}") from error


def _of_its_batch(error: Exception | None) -> bool:
    """A broker refuses a whole batch for one of its records: alone, another may be taken."""
    return isinstance(error, InvalidRecordError | InvalidTimestampError) or type(error) is KafkaError


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
