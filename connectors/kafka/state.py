"""State of source partitions in a compacted topic, through which it travels with its position between processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, OffsetSpec, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError

from connectors.batch import SECOND
from connectors.clock import WallClock
from connectors.kafka.client import Opening, Settings, consumer_settings, said
from connectors.kafka.compacted import Compacted, StateTopicError, ensured
from connectors.kafka.partitions import parsed
from connectors.kafka.pieces import Of, Pieces, count, cut
from connectors.kafka.quirks import make_no_topics
from connectors.kafka.sink import Message, record, shortened
from connectors.kafka.transaction import SPARE_MS, FencedError, Outgoing, RefusedError, TooLargeError, Transactions
from connectors.source import RefusedTopicError, SourceError, UndecidedError

PARTITIONS = 8
_EXPIRY_S = 15.0  # how often brokers look for transactions that have lasted too long (10 s), and some more
_POLL_MS, _ASK_MS = 200, 2_000
_LATE = "a transaction of another process is not decided yet, or the brokers are slow"
_READ: Settings = {
    "isolation_level": "read_committed",  # which also makes a committed offset wait until it is decided
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    "group_instance_id": None,
    "fetch_max_wait_ms": 100,
    "max_partition_fetch_bytes": 8 << 20,
    "reconnect_backoff_max_ms": 1_000,
    "metrics_enabled": False,
}
_ADMIN = frozenset(KafkaAdminClient.DEFAULT_CONFIG)


class StateTopic:
    """Pieces of state by source partition and kind in ``topic``, which is made where it is missing.

    ``client`` holds librdkafka's settings of the source, ``group`` is its group; ``instance`` tells this process from
    all others of the group, and a restarted one should have the same. A partition's state is always in the same
    partition of the topic, so the topic must never get more of them. ``timeout_s``: how long the brokers have for one
    write, and for one answer while reading. Raises ValueError where the settings make no sense; connects when first
    used. ``problem``: why the last try failed, None where it did not; ``remark``: what is wrong with the topic.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        group: str,
        instance: str,
        timeout_s: float = 10.0,
        partitions: int = PARTITIONS,
    ) -> None:
        wait_ms = round(timeout_s * 1000)
        own = {"group_id": group, "bootstrap_timeout_ms": wait_ms}
        self._reading = {**consumer_settings(client), **_READ, **own}
        self._topic, self._group, self._wanted = topic, group, partitions
        self._wait_ms, self._clock = wait_ms, WallClock()
        self._transactions = Transactions(client, f"{group}-{instance}", timeout_s)
        self._found: Compacted | None = None
        self._counts: dict[Of, int] = {}  # chunks that the topic has of each
        self.problem: str | None = None

    @property
    def remark(self) -> str | None:
        """What is wrong with the topic; None where nothing is, or it was not looked at yet."""
        return None if self._found is None else self._found.remark

    def read(self, partitions: Sequence[str], timeout_s: float | None = None) -> dict[str, dict[str, bytes]]:
        """For each of these source partitions (``topic/3``) its newest committed pieces by kind, if there are any.

        Waits for every transaction that may still commit offsets or state of theirs: where its process has died, until
        the brokers give it up; what this process itself has left open before it was started again is aborted at once.
        ``timeout_s``: how long at most. Raises StateTopicError where that, or the brokers, take longer, ValueError
        where a name is none.
        """
        sources = [_place(name) for name in partitions]
        if not sources:
            return {}
        patience = (self._wait_ms * 2 + SPARE_MS) / 1000 + _EXPIRY_S if timeout_s is None else timeout_s
        try:
            pieces = self._read(partitions, sources, self._clock.now() + round(patience * SECOND))
        except (KafkaError, StateTopicError, FencedError) as error:
            raise self._failed(error) from error
        self.problem = None
        self._counts.update(pieces.counts())
        if broken := pieces.broken():
            self.problem = f"state in {self._topic} is not whole and not used: {', '.join(broken)}"
        return pieces.whole()

    def write(
        self,
        pieces: Mapping[Of, bytes],
        offsets: Mapping[str, int],
        member: Any,
        messages: Sequence[tuple[str, Message]] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """One transaction: pieces by (source partition, kind), the group's offsets, and alert messages by topic.

        ``member`` is the ``group_metadata()`` of the source's consumer, ``metadata`` what is committed beside offsets.
        Raises FencedError where the group says that this process is no member as it was: nothing of this is visible
        then, and it may be tried with new ``member`` data once partitions are ours again. Raises StateTopicError where
        nothing was written and trying again may help, UndecidedError where nobody knows: what is read next tells. It
        has to be written again, as a whole or newer. Raises RefusedTopicError where it is a topic of ``messages`` that
        takes none: without those of it the rest may be written. Raises SinkError for a message that is no JSON,
        ValueError for what makes no sense.
        """
        if not (pieces or offsets or messages):
            return
        if not offsets:
            raise ValueError("without an offset nobody would notice that this process has lost its partitions")
        told = {_place(name): _offset(at, (metadata or {}).get(name, "")) for name, at in offsets.items()}
        try:
            self._check(member)
            self._write(pieces, told, member, messages)
        except (KafkaError, StateTopicError, FencedError, UndecidedError) as error:
            raise self._failed(error) from error
        self.problem = None

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._transactions.close()

    def _check(self, member: Any) -> None:
        """A group takes offsets from somebody who claims no membership at all, so that is refused here."""
        if member.group_id != self._group:
            raise ValueError(f"a member of {member.group_id!r}, not of {self._group!r}")
        if member.generation_id < 0 or not member.member_id:
            raise FencedError(f"this process is no member of the group {self._group} just now")

    def _write(
        self,
        pieces: Mapping[Of, bytes],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        member: Any,
        messages: Sequence[tuple[str, Message]],
    ) -> None:
        found = self._settled()
        chunks = self._chunks(found, pieces)
        forms = [(topic, [message, *shortened(message)]) for topic, message in messages]
        while True:
            try:
                told = [Outgoing(topic, None, *record(left[0])) for topic, left in forms]
                self._transactions.commit(offsets, member, [*chunks, *told])
                break
            except TooLargeError as error:
                if min(error.which) < len(chunks):
                    told_bytes = f"{found.chunk_bytes} bytes in a message"
                    raise StateTopicError(f"the topic {self._topic} does not take {told_bytes}") from error
                _shorten(forms, [at - len(chunks) for at in error.which])
            except RefusedError as error:
                if error.which < len(chunks):
                    raise StateTopicError(f"it takes no messages: {error}") from error
                raise RefusedTopicError(forms[error.which - len(chunks)][0], str(error)) from error
            except StateTopicError as error:
                if missing := self._missing({topic for topic, _ in messages}):
                    raise RefusedTopicError(missing, "it is not there") from error
                raise
        self._counts.update({of: count(piece, found.chunk_bytes) for of, piece in pieces.items()})

    def _chunks(self, found: Compacted, pieces: Mapping[Of, bytes]) -> list[Outgoing]:
        return [
            Outgoing(self._topic, _home(of[0], found.partitions), *chunk)
            for of, piece in pieces.items()
            for chunk in cut(of, piece, found.chunk_bytes, self._counts.get(of, 0))
        ]

    def _missing(self, topics: Collection[str]) -> str | None:
        """One of these that is not there, if brokers say so within a moment: the client only waits for it."""
        if not topics:
            return None
        try:
            admin = self._admin(bootstrap_timeout_ms=_ASK_MS, request_timeout_ms=_ASK_MS)
            try:
                found = admin.describe_topics(sorted(topics))
            finally:
                admin.close()
        except KafkaError:
            return None
        return next((each["name"] for each in found if each["error_code"] == UnknownTopicOrPartitionError.errno), None)

    def _read(self, names: Sequence[str], sources: Sequence[TopicPartition], until: int) -> Pieces:
        self._transactions.settle()
        consumer = Opening().consumer(self._reading)
        try:
            make_no_topics(consumer)
            for at in sources:  # first, so that what is decided by then is in what is read afterwards
                consumer.committed(at, timeout_ms=self._left_ms(until))
            return self._gathered(consumer, names, until)
        except KafkaTimeoutError as error:
            raise StateTopicError(_LATE) from error
        finally:
            consumer.close(autocommit=False, timeout_ms=self._wait_ms)

    def _gathered(self, consumer: KafkaConsumer, names: Sequence[str], until: int) -> Pieces:
        """All records up to the ends of now, those of open transactions included: they have to be decided first."""
        pieces, ends = Pieces(names), self._ends(names)
        consumer.assign(list(ends))
        consumer.seek_to_beginning(*ends)
        while any(consumer.position(at, timeout_ms=self._left_ms(until)) < end for at, end in ends.items()):
            self._left_ms(until)
            for found in consumer.poll(timeout_ms=_POLL_MS).values():
                for each in found:
                    pieces.add(each.key, each.value, each.headers)
        return pieces

    def _ends(self, names: Sequence[str]) -> dict[TopicPartition, int]:
        """The high watermarks of the partitions in which these have their state."""
        admin = self._admin()
        try:
            self._found = ensured(admin, self._topic, self._wanted, self._wait_ms)
            homes = {TopicPartition(self._topic, _home(name, self._found.partitions)) for name in names}
            told = admin.list_partition_offsets(dict.fromkeys(homes, OffsetSpec.LATEST), timeout_ms=self._wait_ms)
        finally:
            admin.close()
        return {at: found.offset for at, found in told.items()}

    def _settled(self) -> Compacted:
        if self._found is None:
            admin = self._admin()
            try:
                self._found = ensured(admin, self._topic, self._wanted, self._wait_ms)
            finally:
                admin.close()
        return self._found

    def _admin(self, **more: int) -> KafkaAdminClient:
        own = {name: value for name, value in self._reading.items() if name in _ADMIN}
        return Opening().admin({**own, **more})

    def _left_ms(self, until: int) -> float:
        left = (until - self._clock.now()) / 1e6
        if left <= 0:
            raise StateTopicError(_LATE)
        return left

    def _failed(self, error: Exception) -> SourceError:
        """The error to raise; what was known of the topic may be why."""
        self._found = None
        doing = f"state in the topic {self._topic}"
        told = error if isinstance(error, SourceError) else StateTopicError(said(error))
        self.problem = f"{doing}: {told}"
        return type(told)(self.problem)


def _place(name: str) -> TopicPartition:
    at = parsed(name)
    if at is None:
        raise ValueError(f"{name!r} is no partition: write topic/3")
    return at


def _shorten(forms: Sequence[tuple[str, list[Message]]], which: Sequence[int]) -> None:
    """Take the next shorter form of these messages; there may be none left."""
    for at in which:
        topic, left = forms[at]
        if len(left) == 1:
            raise StateTopicError(f"an alert is too large for the topic {topic}, even shortened")
        left.pop(0)


def _offset(at: int, metadata: str) -> OffsetAndMetadata:
    return OffsetAndMetadata(at, metadata, -1)


def _home(name: str, partitions: int) -> int:
    """Where the state of a source partition lives; the same in every process."""
    return crc32(name.encode()) % partitions
