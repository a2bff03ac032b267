"""Records and the offsets of a consumer group in one transaction, which the group refuses to a member it has left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from connectors.batch import SECOND
from connectors.clock import WallClock
from connectors.kafka.client import Opening, Settings, producer_settings, said
from connectors.kafka.compacted import StateTopicError
from connectors.kafka.dead_letters import outcome
from connectors.kafka.pieces import Headers
from connectors.kafka.quirks import bound_waits, drop, flush, transaction_error
from connectors.source import SourceError, UndecidedError

OLDEST = 2, 5  # of the brokers: they know generations in transactions, and wait with undecided offsets (KIP-447)
SPARE_MS = 5_000  # what a transaction may last beyond the time that its writer waits for it
_ABORT_S = 2.0
_REQUEST_BYTES = 1 << 20  # a topic may take less, and says so
_SETTINGS: Settings = {
    "acks": "all",
    "enable_idempotence": True,
    "compression_type": "lz4",
    "linger_ms": 5,  # small pieces go together; what is sent is flushed, so nothing waits for that long
    "retry_backoff_ms": 20,  # a transaction waits for the end of the one before, which takes milliseconds
    "reconnect_backoff_max_ms": 1_000,
    "metrics_enabled": False,
}
_REFUSALS = TopicAuthorizationFailedError, UnknownTopicOrPartitionError, InvalidTopicError
_FENCED = re.compile(
    r"\b(?:IllegalGeneration|UnknownMemberId|FencedInstanceId|FencedMemberEpoch|StaleMemberEpoch"
    r"|ProducerFenced|InvalidProducerEpoch)Error\b"
)


class FencedError(SourceError):
    """The group or the transaction coordinator says that this process is no longer who it was; nothing was written."""


class TooLargeError(Exception):
    """Records that their topics don't take, by their place in the transaction; nothing was written."""

    def __init__(self, which: Sequence[int]) -> None:
        super().__init__(f"records {list(which)} are too large for their topics")
        self.which = list(which)


class RefusedError(Exception):
    """A record whose topic is not there or may not be written to, by its place; nothing was written."""

    def __init__(self, which: int, why: str) -> None:
        super().__init__(why)
        self.which = which


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; ``partition`` None = by its key."""

    topic: str
    partition: int | None
    key: bytes
    value: bytes | None
    headers: Headers


class Transactions:
    """Writes one transaction after another under ``identity``, the transactional id: one process at a time has it.

    After an error the next transaction starts with a new producer, and what was left open is aborted first: the client
    (kafka-python 3.0.12) would send offsets that the group has refused again with the next ones. Raises ValueError
    where the settings in ``client`` make no sense.
    """

    def __init__(self, client: Mapping[str, object], identity: str, timeout_s: float) -> None:
        wait_ms = round(timeout_s * 1000)
        waits = dict.fromkeys(("bootstrap_timeout_ms", "max_block_ms", "delivery_timeout_ms"), wait_ms)
        asks = {"request_timeout_ms": max(500, wait_ms * 9 // 10), "transaction_timeout_ms": wait_ms + SPARE_MS}
        own = producer_settings(client)
        most = {"max_request_size": max(_REQUEST_BYTES, own.get("max_request_size", 0))}
        self._settings = {**own, **_SETTINGS, **waits, **asks, **most, "transactional_id": identity}
        self._timeout_s, self._clock = timeout_s, WallClock()
        self._producer: KafkaProducer | None = None
        self._until = 0

    def commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], member: Any, records: Sequence[Outgoing]
    ) -> None:
        """All or nothing; raises FencedError, TooLargeError, RefusedError or StateTopicError, and then it was nothing.

        Raises UndecidedError where it may have been all; once the next has begun, or ``settle`` has returned, it is
        settled. The offsets go first: a member that the group has left is refused before it writes what readers would
        have to wait for.
        """
        with self._trying():
            producer = self._opened()
            producer.begin_transaction()
            producer.send_offsets_to_transaction(dict(offsets), member)
            self._send(producer, records)
            _end(producer)

    def settle(self) -> None:
        """Abort what an earlier process of this identity has left open; raises FencedError or StateTopicError."""
        with self._trying():
            self._opened()

    def abandon(self) -> None:
        """Abort what is open, as far as a broker answers, and let go of the connection; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._until = self._clock.now() + round(_ABORT_S * SECOND)
            with suppress(KafkaError):  # there may be nothing to abort; a broker aborts it after a while anyway
                producer.abort_transaction()
            drop(producer)

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            drop(producer)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        self._until = self._clock.now() + round(self._timeout_s * SECOND)
        try:
            yield
        except KafkaError as error:
            told = _told(error, self._producer)
            self.abandon()
            raise told from error
        except BaseException:
            self.abandon()
            raise

    def _opened(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = Opening().producer(self._settings)
            if self._producer.config["api_version"] < OLDEST:
                raise StateTopicError(f"state in a topic needs Kafka {'.'.join(map(str, OLDEST))} or newer")
            bound_waits(self._producer, self._left_s)
            self._producer.init_transactions()
        return self._producer

    def _send(self, producer: KafkaProducer, records: Sequence[Outgoing]) -> None:
        sent = [_start(producer, at, record) for at, record in enumerate(records)]
        flush(producer, sent, self._left_s())
        errors = [outcome(future, self._timeout_s) for future in sent]
        if large := [at for at, error in enumerate(errors) if isinstance(error, MessageSizeTooLargeError)]:
            raise TooLargeError(large)
        for at, error in enumerate(errors):
            if isinstance(error, _REFUSALS):
                raise RefusedError(at, said(error)) from error
            if error is not None:
                raise error

    def _left_s(self) -> float:
        return max(0.0, (self._until - self._clock.now()) / SECOND)


def _start(producer: KafkaProducer, at: int, record: Outgoing) -> object:
    """What will tell how it went. A time-out says nothing of the topic: the whole is tried again."""
    try:
        return producer.send(
            record.topic, key=record.key, value=record.value, headers=record.headers, partition=record.partition
        )
    except MessageSizeTooLargeError as error:
        return error
    except _REFUSALS as error:
        raise RefusedError(at, said(error)) from error


def _end(producer: KafkaProducer) -> None:
    try:
        producer.commit_transaction()
    except KafkaError as error:
        told = _told(error, producer)
        raise told if isinstance(told, FencedError) else UndecidedError(str(told)) from error


def _told(error: KafkaError, producer: KafkaProducer | None) -> Exception:
    """What an error means to the writer: some of the client's say only that there was another one before."""
    before = None if producer is None else transaction_error(producer)
    why = said(error if before is None else before)
    if fenced := _FENCED.search(f"{said(error)} {why}"):
        return FencedError(f"another process has taken over, or this one was away for too long: {fenced[0]}")
    return StateTopicError(f"the transaction did not come through: {why}")
