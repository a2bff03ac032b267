"""Messages that gave no readings, written to the dead-letter topic as they came, with the reason beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from connectors.formats.fieldpath import Headers
from connectors.kafka.client import Opening, Settings, producer_settings
from connectors.kafka.quirks import drop, flush

ERRORS = "__streams.errors."  # the header names of Kafka Streams (KIP-1034)
TRUNCATED = "heed.truncated"  # header: how many bytes the whole value has; with .key and .headers behind it: those
_CUTS = (64 << 10, 4 << 10, 128)  # bytes kept of value, key and headers each, until the dead-letter topic takes it
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_WAIT_S = 3.0
_SETTINGS: Settings = {
    "acks": "all",
    "enable_idempotence": False,  # an idempotent producer is of no more use after one message that was too large
    "bootstrap_timeout_ms": 2_000,
    "max_block_ms": 2_000,
    "request_timeout_ms": 4_000,
    "delivery_timeout_ms": 6_000,
    "max_request_size": 32 << 20,
    "metrics_enabled": False,
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it came, and why it gave no readings."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int  # -1 = the record had none
    reason: str
    message: str

    def sent(self) -> dict[str, Any]:
        """What a producer's ``send`` is given of it, wherever it goes; headers are another matter."""
        value = b"" if self.value is None and self.key is None else self.value  # the client wants one of both
        return {"value": value, "key": self.key, "timestamp_ms": self.timestamp_ms if self.timestamp_ms >= 0 else None}

    def told(self) -> list[tuple[str, bytes]]:
        """Its own headers, then what went wrong. A header without a value comes out empty: the client has no null."""
        errors = {
            "exception": "heed.Undecodable",
            "message": self.message,
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
        }
        added = [(ERRORS + name, _encoded(text)) for name, text in errors.items()]
        return [*((name, value or b"") for name, value in self.headers), *added, ("heed.reason", _encoded(self.reason))]

    def cut(self, most: int) -> Letter:
        """Of value, key and headers ``most`` bytes each at most, and beside them how many bytes the whole had."""
        bytes_of = {"": len(self.value or b""), ".key": len(self.key or b""), ".headers": sum(map(_size, self.headers))}
        marks = [(TRUNCATED + part, str(size).encode()) for part, size in bytes_of.items() if size > most]
        kept = zip(self.headers, accumulate(map(_size, self.headers)), strict=True)
        return replace(
            self,
            key=self.key and self.key[:most],
            value=self.value and self.value[:most],
            headers=[*(header for header, so_far in kept if so_far <= most), *marks],
            message=self.message[:most],
        )


def _size(header: tuple[str, bytes | None]) -> int:
    name, value = header
    return len(_encoded(name)) + len(value or b"")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def letter_topic(named: str | None, group: str) -> str:
    """The dead-letter topic of a consumer group, unless one is ``named``; raises ValueError where it can be none."""
    topic = named or re.sub(r"[^a-zA-Z0-9._-]", "_", group)[:245] + ".dlq"
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic):
        raise ValueError(f"dead_letter {topic!r} is no name for a topic: letters, digits, . _ - only")
    return topic


class DeadLetters:
    """Writes letters to one topic and says which were acknowledged; connects with the first.

    What is not acknowledged in time stays under way. Its partition comes again from there, and then what became of it
    counts: it isn't sent anew while it may still arrive.
    """

    def __init__(self, topic: str, client: Mapping[str, object]) -> None:
        self._topic, self._settings = topic, {**producer_settings(client), **_SETTINGS}
        self._producer: KafkaProducer | None = None
        self._before: dict[tuple[str, int], dict[int, Any]] = {}  # sent, and will come again: by partition and offset
        self.problem: str | None = None  # why the last letters could not be written

    def send(self, letters: Sequence[Letter]) -> list[bool]:
        """Write all and wait; true for each that every in-sync broker has. Never raises."""
        before = [self._before.get(_partition(letter), {}).get(letter.offset) for letter in letters]
        if any(refusal(future) is not None for future in before):
            self._forget()  # another may be better off
        futures = self._sent(letters, before)
        errors = [outcome(future, _WAIT_S) for future in futures]
        failed = next((error for error in errors if error is not None), None)
        self.problem = None if failed is None else f"dead letters can't be written to {self._topic}: {failed}"
        stuck = any(future is not None and not future.is_done for future in before)  # though its time is up
        if stuck or any(refusal(future) is not None for future in futures):
            self._forget()
            futures = [future if error is None else failed for future, error in zip(futures, errors, strict=True)]
        written = [error is None for error in errors]
        self._remember(letters, futures, written)
        return written

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._forget()

    def _sent(self, letters: Sequence[Letter], before: Sequence[Any]) -> list[Any]:
        """The future of each letter, or its error; cut shorter and shorter while it is too large for the topic."""
        futures = list(before)
        new = [at for at, future in enumerate(before) if future is None or refusal(future) is not None]
        for most in (None, *_CUTS):
            shorter = [letters[at] if most is None else letters[at].cut(most) for at in new]
            for at, future in zip(new, self._started(shorter), strict=True):
                futures[at] = future
            self._wait(futures)
            new = [at for at in new if isinstance(refusal(futures[at]), TOO_LARGE)]
            if not new:
                break
        return futures

    def _started(self, letters: Sequence[Letter]) -> list[Any]:
        """All under way; what one fails with at once, the others would too."""
        futures: list[Any] = []
        hopeless: Exception | None = None
        for letter in letters:
            futures.append(hopeless or self._start(letter))
            error = refusal(futures[-1])
            hopeless = None if isinstance(error, TOO_LARGE) else error
        return futures

    def _wait(self, futures: Sequence[Any]) -> None:
        if self._producer is not None:
            flush(self._producer, futures, _WAIT_S)

    def _start(self, letter: Letter) -> Any:
        try:
            return self._connected().send(self._topic, headers=letter.told(), **letter.sent())
        except KafkaError as error:
            return error

    def _remember(self, letters: Sequence[Letter], futures: Sequence[Any], written: Sequence[bool]) -> None:
        """Of partitions that will come again, what has arrived or still may."""
        again = {_partition(letter) for letter, arrived in zip(letters, written, strict=True) if not arrived}
        for letter in letters:
            self._before.pop(_partition(letter), None)
        for letter, future in zip(letters, futures, strict=True):
            if _partition(letter) in again and refusal(future) is None:
                self._before.setdefault(_partition(letter), {})[letter.offset] = future

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = Opening().producer(self._settings)
        return self._producer

    def _forget(self) -> None:
        """Drop the producer and all that it still holds: what was not acknowledged is read and written again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            drop(producer)


def _partition(letter: Letter) -> tuple[str, int]:
    return letter.topic, letter.partition


def refusal(future: Any) -> Exception | None:
    """The error that a message has met so far; None where it has arrived, is under way, or was never sent."""
    if future is None or isinstance(future, Exception):
        return future
    error: Exception | None = future.exception
    return error


def outcome(future: Any, waited_s: float) -> Exception | None:
    """What became of a message after waiting for it: None, or the error."""
    if isinstance(future, Exception) or future.is_done:  # in this order: it may be done any moment
        return refusal(future)
    late: Exception = KafkaTimeoutError(f"no answer within {waited_s:g} s")
    return late
