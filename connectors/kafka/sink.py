"""Alert messages to a Kafka topic: key = fingerprint, JSON, CloudEvents headers, an idempotent producer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from connectors.jsontext import written
from connectors.kafka.client import Opening, Settings, producer_settings
from connectors.kafka.dead_letters import TRUNCATED, outcome
from connectors.kafka.quirks import drop, flush
from connectors.sink import SinkError

_SETTINGS: Settings = {
    "acks": "all",
    "enable_idempotence": True,
    "bootstrap_timeout_ms": 10_000,
    "max_block_ms": 10_000,
    "request_timeout_ms": 9_000,
    "delivery_timeout_ms": 10_000,
    "metrics_enabled": False,
}
_BARE = ("id", "fingerprint", "status", "starts_at", "ends_at")
_BRIEF = (*_BARE, "active_at", "labels", "rule", "group", "reason")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Message = Mapping[str, object]
Headers = list[tuple[str, bytes]]


class KafkaSink:
    """Sends alert messages to ``topic``; the same message always goes to the same partition, so order is kept.

    ``client`` holds librdkafka's settings. Raises ValueError where they make no sense; connects with the first send.
    """

    name = "kafka"

    def __init__(self, topic: str, client: Mapping[str, object], timeout_s: float = 10.0) -> None:
        self._topic, self._timeout_s = topic, timeout_s
        waits = {name: min(ms, round(timeout_s * 1000)) for name, ms in _SETTINGS.items() if name.endswith("_ms")}
        self._settings = {**producer_settings(client), **_SETTINGS, **waits}
        self._producer: KafkaProducer | None = None
        self._closed = False

    def send(self, messages: Sequence[Message]) -> None:
        """Deliver all, in order, before returning; raises SinkError where a broker did not take all of them."""
        if self._closed:
            raise SinkError(f"the sink to {self._topic} is closed")
        try:
            self._deliver(messages)
        except (KafkaError, TypeError, ValueError) as error:  # the latter two: a message that is no JSON
            self._forget()  # nothing of this may arrive after the next attempt's
            raise SinkError(f"alerts can't be written to the topic {self._topic}: {error}") from error

    def close(self) -> None:
        """Let go of the connection; safe to call twice. All that was sent has been delivered."""
        self._closed = True
        self._forget()

    def _deliver(self, messages: Sequence[Message]) -> None:
        errors = self._tried(messages)
        failed = [error for error in errors if error is not None]
        if not any(isinstance(error, MessageSizeTooLargeError) for error in failed):
            _raise_first(failed)
            return
        self._forget()  # an idempotent producer is of no more use after that
        for message, error in zip(messages, errors, strict=True):
            if error is not None:
                self._deliver_alone(message)

    def _deliver_alone(self, message: Message) -> None:
        """Several that are too large together may not be so alone; what is, goes as much of it as the topic takes."""
        for short in (message, *shortened(message)):
            (error,) = self._tried([short])
            if error is None:
                return
            self._forget()
            if not isinstance(error, MessageSizeTooLargeError):
                break
        _raise_first([error])

    def _tried(self, messages: Sequence[Message]) -> list[BaseException | None]:
        """What became of each: None, or the error."""
        if self._producer is None:
            self._producer = Opening().producer(self._settings)
        records = [record(message) for message in messages]  # all or none, before the first is under way
        sent = [self._start(self._producer, *each) for each in records]
        flush(self._producer, sent, self._timeout_s)
        return [outcome(future, self._timeout_s) for future in sent]

    def _start(self, producer: KafkaProducer, key: bytes, value: bytes, headers: Headers) -> object:
        try:
            return producer.send(self._topic, key=key, value=value, headers=headers)
        except MessageSizeTooLargeError as error:
            return error

    def _forget(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            drop(producer)


def record(message: Message) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of an alert message; raises SinkError where it is no JSON."""
    told = {name: value for name, value in message.items() if name != TRUNCATED}  # which is for the headers only
    cut = [(TRUNCATED, str(message[TRUNCATED]).encode())] if TRUNCATED in message else []
    key = str(message.get("fingerprint", "")).encode()
    return key, written(told, KafkaSink.name), [*cloud_headers(message), *cut]


def shortened(message: Message) -> list[Message]:
    """Less and less of it, with the bytes of the whole beside."""
    whole = len(written(message))
    return [
        {TRUNCATED: whole, **{name: message[name] for name in names if name in message}} for names in (_BRIEF, _BARE)
    ]


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    for error in errors:
        if error is not None:
            raise error


def cloud_headers(message: Message) -> list[tuple[str, bytes]]:
    """CloudEvents 1.0 headers in binary mode; ``ce_time`` is when the alert fired or ended."""
    status, starts = message.get("status"), message.get("starts_at")
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"{message.get('fingerprint')}-{starts}-{status}",
        "ce_source": "heed",
        "ce_type": f"heed.alert.{status}",
        "content-type": "application/json",
    }
    time = message.get("ends_at") if status == "resolved" else starts
    if time is not None:
        headers["ce_time"] = _rfc3339(time)
    return [(name, text.encode()) for name, text in headers.items()]


def _rfc3339(time: object) -> str:
    """Text as it is; nanoseconds as text, to the microsecond."""
    if not isinstance(time, int):
        return str(time)
    return (_EPOCH + timedelta(microseconds=time // 1000)).isoformat().replace("+00:00", "Z")
