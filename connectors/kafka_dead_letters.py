"""Messages that gave no readings, written to the dead-letter topic as they came, with the reason beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from connectors.fieldpath import Headers
from connectors.kafka_client import Opening, Settings, producer_settings
from connectors.kafka_quirks import drop

ERRORS = "__streams.errors."  # the header names of Kafka Streams (KIP-1034)
TRUNCATED = "heed.truncated"  # header: how many bytes the whole has
_CUT_BYTES = 64 << 10  # what is kept of a message that the dead-letter topic does not take whole
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

    def told(self) -> list[tuple[str, bytes]]:
        """Its own headers, then what went wrong. A header without a value comes out empty: the client has no null."""
        errors = {
            "exception": "connectors.decoded.Undecodable",
            "message": self.message,
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
        }
        added = [(ERRORS + name, _encoded(text)) for name, text in errors.items()]
        return [*((name, value or b"") for name, value in self.headers), *added, ("heed.reason", _encoded(self.reason))]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def letter_topic(named: str | None, group: str) -> str:
    """The dead-letter topic of a consumer group, unless one is ``named``; raises ValueError where it can be none."""
    topic = named or re.sub(r"[^a-zA-Z0-9._-]", "_", group)[:245] + ".dlq"
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic):
        raise ValueError(f"dead_letter {topic!r} is no name for a topic: letters, digits, . _ - only")
    return topic


class DeadLetters:
    """Writes letters to one topic and says which were acknowledged; connects with the first."""

    def __init__(self, topic: str, client: Mapping[str, object]) -> None:
        self._topic, self._settings = topic, {**producer_settings(client), **_SETTINGS}
        self._producer: KafkaProducer | None = None
        self.problem: str | None = None  # why the last letters could not be written

    def send(self, letters: Sequence[Letter]) -> list[bool]:
        """Write all and wait; true for each that every in-sync broker has. Never raises."""
        self.problem = None
        sent = self._written(letters, cut=False)
        large = [at for at, found in enumerate(sent) if isinstance(found, MessageSizeTooLargeError)]
        for at, found in zip(large, self._written([letters[at] for at in large], cut=True), strict=True):
            sent[at] = found
        failed = next((found for found in sent if found is not None), None)
        if failed is not None:
            self.problem = f"dead letters can't be written to {self._topic}: {failed}"
            self._forget()
        return [found is None for found in sent]

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._forget()

    def _written(self, letters: Sequence[Letter], cut: bool) -> list[BaseException | None]:
        """What became of each letter: None, or the error."""
        if not letters:
            return []
        try:
            producer = self._connected()
            futures = [self._start(producer, letter, cut) for letter in letters]
        except KafkaError as error:
            return [error] * len(letters)
        with suppress(KafkaError):  # each future tells for itself
            producer.flush(_WAIT_S)
        return [outcome(future, _WAIT_S) for future in futures]

    def _start(self, producer: KafkaProducer, letter: Letter, cut: bool) -> Any:
        headers, value = letter.told(), letter.value
        if value is None and letter.key is None:
            value = b""  # the client wants one of both
        if cut and value is not None:
            headers.append((TRUNCATED, str(len(value)).encode()))
            value = value[:_CUT_BYTES]
        try:
            return producer.send(
                self._topic,
                value=value,
                key=letter.key,
                headers=headers,
                timestamp_ms=letter.timestamp_ms if letter.timestamp_ms >= 0 else None,
            )
        except MessageSizeTooLargeError as error:
            return error

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = Opening().producer(self._settings)
        return self._producer

    def _forget(self) -> None:
        """Drop the producer and all that it still holds: what was not acknowledged is read and written again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            drop(producer)


def outcome(future: Any, waited_s: float) -> BaseException | None:
    """What became of a message after waiting for it: None, or the error."""
    if isinstance(future, BaseException):
        return future
    failed: BaseException | None = future.exception
    return failed if future.is_done else KafkaError(f"no answer within {waited_s:g} s")
