"""librdkafka (confluent-kafka) in the shape of kafka-python's consumer: the other client of the same Kafka source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import KafkaError as Fault
from confluent_kafka import TopicPartition as Place
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CorruptRecordError,
    FencedInstanceIdError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
)
from kafka.structs import MemberState, OffsetAndTimestamp

from connectors.formats.fieldpath import Headers
from connectors.kafka.client import Settings, meant
from connectors.kafka.columns import Columns, Late

Rows = Mapping[TopicPartition, Sequence[Message]]
_OVER_S = 0.001  # librdkafka rounds a wait down, and nobody is served by one that ends before its time
_REACH_S = 0.05  # the shortest wait for an answer: one that comes later is lost
_ASK_EACH, _ASK_S = 8, 0.2  # calls (some three a poll) between two questions of a member that reads nothing
_CALM = (Fault._PARTITION_EOF, Fault._TRANSPORT, Fault._ALL_BROKERS_DOWN, Fault._RESOLVE)  # told by silence
_MOVED = (Fault._AUTO_OFFSET_RESET, Fault.OFFSET_OUT_OF_RANGE)
_DEFAULTS = {  # where librdkafka's own differ from what heed promises
    "group.id": "heed",
    "check.crcs": "true",
    "isolation.level": "read_uncommitted",
    "partition.assignment.strategy": "cooperative-sticky",
    "metadata.max.age.ms": "30000",
    "reconnect.backoff.max.ms": "1000",
    "fetch.wait.max.ms": "100",
    "queued.max.messages.kbytes": "16384",  # a partition's share of what waits in memory
    "log_level": "3",
}
_FIXED = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
}
_LARGEST = 1_000_000  # librdkafka's message.max.bytes, which here has no other meaning
_OURS = ("max.poll.records", "request.timeout.ms")  # not librdkafka's, or only a producer's
_PRODUCERS = ("compression.type", "compression.codec", "linger.ms", "batch.size", "message.max.bytes")


class ConfluentConsumer:
    """What KafkaSource asks of a consumer, by kafka-python's names; polls bring Columns.

    One thread only. Raises kafka-python's errors. ``settings`` are kafka-python's, ``client`` is
    librdkafka's own. Raises ValueError for a setting that librdkafka does not take.
    """

    def __init__(self, client: Mapping[str, object], settings: Settings) -> None:
        given = {name: str(value) for name, value in client.items() if name not in (*_OURS, *_PRODUCERS)}
        member = settings.get("group_instance_id")
        static = {"group.instance.id": member} if member else {}
        config: dict[str, Any] = {**_DEFAULTS, **static, **given, **_FIXED}
        config.setdefault("topic.metadata.refresh.interval.ms", config["metadata.max.age.ms"])
        config |= _small_fetches(config.get("fetch.max.bytes", ""))
        self.config = {**settings, "group_id": config["group.id"], "group_instance_id": member}
        if config["partition.assignment.strategy"] != "cooperative-sticky":
            raise ValueError(
                "client.partition.assignment.strategy: with client_library: confluent cooperative-sticky only"
            )
        self._paused: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}  # assigned partitions: the offset that comes next
        self._unled: set[TopicPartition] = set()  # partitions that no broker led when it was asked last
        self._errors: list[Message] = []  # to be raised by the next poll
        self._corrupt: tuple[TopicPartition, int] | None = None  # what the last error was about
        self._told: Callable[..., object] = lambda offsets, answer: None
        self._answered = self._alive = False
        self._idle = 0
        self._topic: str | None = None  # to ask about; None = all
        self.trouble: str | None = None  # what librdkafka last complained of, while no broker was reached
        try:
            heard = {"on_commit": self._on_commit, "error_cb": self._on_error, "logger": _Words()}
            self._consumer = Consumer({**config, **heard})
        except KafkaException as error:
            raise ValueError(_refused(error)) from error

    def reachable(self, seconds: float) -> bool:
        """Whether a broker answers within ``seconds``, or a moment: else polls that never wait would never hear it."""
        self._consumer.poll(0)  # lets it ask for a token, and say what went wrong
        try:
            self._consumer.list_topics(self._topic, timeout=max(_REACH_S, seconds))
        except KafkaException:
            self._consumer.poll(0)
            return False
        self.trouble = None
        return True

    def subscribe(
        self, topics: Sequence[str] = (), pattern: str | None = None, listener: Any = None
    ) -> None:  # as kafka-python has it
        """Read these topics; ``listener`` hears of partitions given and taken, within a poll."""
        names = list(topics) if pattern is None else [f"^({pattern.removeprefix('^')})"]
        self._topic = topics[0] if topics else None

        def given(consumer: Consumer, places: list[Place]) -> None:
            consumer.incremental_assign([])  # else they would be read from the committed offset at once
            self._next |= dict.fromkeys(_ats(places), -1)
            self._paused |= set(_ats(places))
            listener.on_partitions_assigned(_ats(places))

        def taken(consumer: Consumer, places: list[Place]) -> None:
            # once, with all: where it closes, the group may be gone after that, and a second call never comes back
            consumer.incremental_unassign([Place(*at) for at in self._read(_ats(places))])
            for at in _ats(places):
                self._next.pop(at, None)
                self._paused.discard(at)
            listener.on_partitions_revoked(_ats(places))

        self._consumer.subscribe(names, on_assign=given, on_revoke=taken)

    def poll(self, timeout_ms: float, max_records: int) -> dict[TopicPartition, list[Columns]]:
        """Records that have come, in columns, ``max_records`` at most; waits up to ``timeout_ms`` for the first."""
        self._raise_errors()
        found = self._consumer.consume(1, timeout_ms / 1000 + _OVER_S)  # it would wait for all that it is asked for
        if found and max_records > 1:
            found += self._consumer.consume(max_records - 1, 0)
        errors = [message for message in found if message.error() is not None]
        good = [message for message in found if message.error() is None] if errors else found
        several = len({at.topic for at in self._next}) > 1
        rows = self._wanted(_by_partition(good, several))
        polled = {at: [self._columns(at, messages)] for at, messages in rows.items()}
        if errors:  # ends count from behind the messages before them
            self._errors = self._noted(errors)
        if not polled:
            self._raise_errors()
        return polled

    def _wanted(self, found: Rows) -> dict[TopicPartition, Sequence[Message]]:
        """Without what is no longer ours, waits for its place, or was read before."""
        wanted = {}
        for at, messages in found.items():
            if at not in self._next or at in self._paused:
                continue
            if messages[0].offset() < self._next[at]:
                messages = [message for message in messages if message.offset() >= self._next[at]]
            if messages:
                wanted[at] = messages
        return wanted

    def _columns(self, at: TopicPartition, messages: Sequence[Message]) -> Columns:
        found = columns(messages)
        self._next[at] = int(found.offset[-1]) + 1
        return found

    def _noted(self, errors: Sequence[Message]) -> list[Message]:
        """Ends of partitions are noted; the rest is left to be raised."""
        for message in errors:
            at = TopicPartition(message.topic(), message.partition())
            if _code(message) == Fault._PARTITION_EOF and at in self._next and at not in self._paused:
                self._next[at] = max(self._next[at], message.offset())  # transaction markers before it are no records
        return [message for message in errors if _code(message) not in _CALM]

    def _raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if not errors:
            return
        moved = {_at(message): self._next.get(_at(message), -1) for message in errors if _code(message) in _MOVED}
        if any("fenced" in str(message.error()) for message in errors):  # a fatal error has no other code
            raise FencedInstanceIdError()
        if moved:
            raise OffsetOutOfRangeError(moved)
        self._raise_corrupt(errors)
        raise KafkaError(str(errors[0].error()))

    def _raise_corrupt(self, errors: Sequence[Message]) -> None:
        """A batch with a wrong checksum: left to itself, librdkafka would ask for it again and again."""
        for message in errors:
            at = _at(message)
            if _code(message) == Fault._BAD_MSG and self._next.get(at, -1) >= 0 and at not in self._paused:
                self._corrupt = at, max(self._next[at], message.offset())
                raise CorruptRecordError(str(message.error()))

    def take_corrupt(self) -> tuple[TopicPartition, int] | None:
        """The record of which a poll has just raised CorruptRecordError: its partition and offset.

        Nothing tells where its batch ends, so those behind it in the batch fail one by one.
        """
        corrupt, self._corrupt = self._corrupt, None
        return corrupt

    def _on_error(self, error: Fault) -> None:
        if error.fatal():
            self._errors.append(_Told(error))
        if self.trouble is None or error.code() != Fault._ALL_BROKERS_DOWN:  # which says less than what went before
            self.trouble = str(error)

    def seek(self, at: TopicPartition, offset: int) -> None:
        """The next poll brings this partition from ``offset``, or the one after it is resumed."""
        reading = at not in self._paused
        self.pause(at)
        self._next[at] = offset
        if reading:
            self.resume(at)

    def pause(self, *partitions: TopicPartition) -> None:
        """Bring nothing of these until they are resumed.

        They stay this member's, but librdkafka need not know: so they begin anew where they are resumed, and what it
        had fetched of them is gone.
        """
        reading = self._read(partitions)
        self._paused |= set(reading)
        if reading:
            self._consumer.incremental_unassign([Place(*at) for at in reading])

    def _read(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Those of them that librdkafka reads now."""
        return [at for at in partitions if at in self._next and at not in self._paused]

    def resume(self, *partitions: TopicPartition) -> None:
        """Go on with these from where they are to be read next."""
        waiting = [at for at in partitions if at in self._paused and self._next[at] >= 0]
        self._paused -= set(waiting)
        if waiting:
            self._consumer.incremental_assign([Place(*at, self._next[at]) for at in waiting])

    def paused(self) -> set[TopicPartition]:
        """What waits to be resumed."""
        return set(self._paused)

    def position(self, at: TopicPartition, timeout_ms: float = 0) -> int | None:
        """The offset that comes next, transaction markers at the end passed; None = not settled."""
        found = self._next.get(at, -1)
        return found if found >= 0 else None

    def highwater(self, at: TopicPartition) -> int | None:
        """Where the partition ended when it was fetched last; None = not known."""
        try:
            ends = self._consumer.get_watermark_offsets(Place(*at), cached=True)
        except KafkaException:
            return None
        return ends[1] if ends is not None and ends[1] >= 0 else None

    def beginning_offsets(self, places: Iterable[TopicPartition], timeout_ms: float) -> dict[TopicPartition, int]:
        """The first offsets that the broker still has. Raises KafkaError."""
        return {at: self._bounds(at, timeout_ms)[0] for at in self._led(places, timeout_ms)}

    def end_offsets(self, places: Iterable[TopicPartition], timeout_ms: float) -> dict[TopicPartition, int]:
        """The offsets that will be written next. Raises KafkaError."""
        return {at: self._bounds(at, timeout_ms)[1] for at in self._led(places, timeout_ms)}

    def leaderless(self, places: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Which of these no broker led when somebody asked for beginnings or ends last."""
        return self._unled & set(places)

    def assignment(self) -> set[TopicPartition]:
        """The partitions that are this member's."""
        return set(self._next)

    def _led(self, places: Iterable[TopicPartition], timeout_ms: float) -> list[TopicPartition]:
        """Those of which a broker may know something; the others would take the whole time to say nothing."""
        wanted = list(places)
        for topic in {at.topic for at in wanted}:
            known = self._partitions(topic, timeout_ms / 1000)
            self._unled = {at for at in self._unled if at.topic != topic} | {
                TopicPartition(topic, number) for number, about in known.items() if about.leader < 0
            }
        return [at for at in wanted if at not in self._unled]

    def _bounds(self, at: TopicPartition, timeout_ms: float) -> tuple[int, int]:
        try:
            found = self._consumer.get_watermark_offsets(Place(*at), timeout=timeout_ms / 1000, cached=False)
        except KafkaException as error:
            raise KafkaError(str(error)) from error
        if found is None:
            raise KafkaTimeoutError(f"no end of {at.topic}/{at.partition}")
        return int(found[0]), int(found[1])

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The numbers of a topic's partitions; None = there is no such topic. Raises KafkaError."""
        return set(self._partitions(topic, _ASK_S)) or None

    def _partitions(self, topic: str, timeout_s: float) -> Mapping[int, Any]:
        """What a broker says of the partitions of a topic, by number; empty = there is no such topic."""
        try:
            found = self._consumer.list_topics(topic, timeout=timeout_s).topics
        except KafkaException as error:
            raise KafkaError(str(error)) from error
        return found[topic].partitions if topic in found else {}

    def committed(self, at: TopicPartition, metadata: bool = True, timeout_ms: float = 0) -> OffsetAndMetadata | None:
        """What the group has committed, and the words beside it; None = nothing. Raises KafkaError."""
        try:
            (found,) = self._consumer.committed([Place(*at)], timeout=timeout_ms / 1000)
        except KafkaException as error:
            raise KafkaError(str(error)) from error
        return OffsetAndMetadata(found.offset, found.metadata or "", -1) if found.offset >= 0 else None

    def offsets_for_times(
        self, times: Mapping[TopicPartition, int], timeout_ms: float
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """The first offset at or after each time (ms), None where there is none. Raises KafkaError."""
        try:
            found = self._consumer.offsets_for_times(
                [Place(*at, since) for at, since in times.items()], timeout=timeout_ms / 1000
            )
        except KafkaException as error:
            raise KafkaError(str(error)) from error
        return {
            at: OffsetAndTimestamp(place.offset, times[at], -1) if place.offset >= 0 else None
            for at, place in zip(times, found, strict=True)
        }

    def commit_async(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], callback: Callable[..., object]
    ) -> None:
        """Commit; ``callback`` hears the answer within a poll. Raises KafkaError."""
        self._told, self._answered = callback, False
        places = [Place(*at, meta.offset, meta.metadata) for at, meta in offsets.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            raise KafkaError(str(error)) from error

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: float) -> None:
        """Commit and wait for the answer, but not for ever; the last thing before closing."""
        self.pause(*self._next)
        self.commit_async(offsets, self._told)
        for _ in range(max(1, round(timeout_ms / 20))):
            if self._answered:
                return
            self._consumer.consume(1, 0.02)

    def _on_commit(self, error: Fault | None, places: list[Place]) -> None:
        self._answered = True
        offsets = {TopicPartition(place.topic, place.partition): place for place in places if place.error is None}
        self._told(offsets, None if error is None else KafkaError(str(error)))

    def group_metadata(self) -> Any:
        """Whether the group's brokers answer: without a partition nothing else would tell, so then they are asked."""
        if not self._next:
            self._idle += 1
            if self._idle % _ASK_EACH == 1:
                self._alive = self.reachable(_ASK_S)
        member = bool(self._next) or self._alive
        return SimpleNamespace(state=MemberState.STABLE if member else MemberState.UNJOINED)

    def close(self, autocommit: bool = False, timeout_ms: float = 0) -> None:
        """Leave the group, committing nothing."""
        self._consumer.close()


class ConfluentConnection:
    """Gives out a consumer once a broker answers."""

    def __init__(self, client: Mapping[str, object], settings: Settings) -> None:
        self._consumer, self._reached, self._closed = ConfluentConsumer(client, settings), False, False

    def wait(self, seconds: float) -> ConfluentConsumer | None:
        """The consumer, None where no broker answers within ``seconds``."""
        self._reached = self._reached or (not self._closed and self._consumer.reachable(seconds))
        return self._consumer if self._reached else None

    @property
    def trouble(self) -> str | None:
        """What keeps the client from its brokers, where it says so."""
        return self._consumer.trouble

    def close(self, timeout_ms: int) -> None:
        """Close the consumer; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._consumer.close()


class _Words:
    """What librdkafka has to say goes, within polls, where every library's words go; else it wrote to stderr itself."""

    def log(self, level: int, text: str, facility: str, *more: object) -> None:
        """One line; ``facility`` = what it is about, which names the logger."""
        logging.getLogger(f"librdkafka.{facility}").log(level, text, facility, *more)


class _Told:
    """An error that came beside the messages, in their shape."""

    def __init__(self, error: Fault) -> None:
        self._error = error

    def error(self) -> Fault:
        return self._error

    def topic(self) -> str:
        return ""

    def partition(self) -> int:
        return -1


def columns(messages: Sequence[Message]) -> Columns:
    """Columns of librdkafka's messages of one partition."""
    n = len(messages)
    return Columns(
        np.fromiter(map(Message.offset, messages), np.int64, n),
        np.fromiter([time for _, time in map(Message.timestamp, messages)], np.int64, n),
        list(map(Message.value, messages)),
        Late(n, lambda: list(map(Message.key, messages))),
        Late(n, lambda: _headers(messages)),
    )


def _headers(messages: Sequence[Message]) -> list[Headers]:
    """Records' headers; none where a name is not UTF-8, since the client gives all of them or none."""
    try:
        return [headers or () for headers in map(Message.headers, messages)]
    except (SystemError, UnicodeError):
        return [()] if len(messages) == 1 else [headers for each in messages for headers in _headers([each])]


def _by_partition(messages: list[Message], several: bool) -> Rows:
    """Messages by partition; they come in runs. ``several`` = of more topics than one: their names cost time."""
    if not messages:
        return {}
    numbers = np.fromiter(map(Message.partition, messages), np.int64, len(messages))
    ends = numbers[1:] != numbers[:-1]
    if several:
        topics = list(map(Message.topic, messages))
        ends |= np.array([one != other for one, other in pairwise(topics)], bool)
    stops = [*(np.flatnonzero(ends) + 1).tolist(), len(messages)]
    found: dict[TopicPartition, list[Message]] = {}
    for start, stop in pairwise([0, *stops]):
        found.setdefault(_at(messages[start]), []).extend(messages[start:stop])
    return found


def _ats(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(place.topic, place.partition) for place in places]


def _at(message: Message) -> TopicPartition:
    return TopicPartition(message.topic(), message.partition())


def _code(message: Message) -> int:
    return int(message.error().code())


def _small_fetches(most: str) -> dict[str, str]:
    """Let an answer be smaller than librdkafka thinks that a message may be: a larger one comes all the same."""
    return {"message.max.bytes": most} if most.isdecimal() and 1000 <= int(most) < _LARGEST else {}


def _refused(error: KafkaException) -> str:
    """What librdkafka says of a setting, with a guess at what was meant."""
    text = str(error.args[0].str())
    name = text.partition('"')[2].partition('"')[0]
    return f"client.{name}: {text}{meant(name)}" if name else f"client: {text}"
