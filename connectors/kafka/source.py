"""Readings from Kafka topics: a consumer in a group whose positions belong to whoever keeps the state."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    CorruptRecordError,
    FencedInstanceIdError,
    KafkaConfigurationError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from kafka.structs import MemberState

from connectors.batch import SECOND, Batch, PartitionTable
from connectors.clock import Clock
from connectors.kafka.answers import LONG, Answers
from connectors.kafka.assignment import Assignment
from connectors.kafka.client import Settings, consumer_settings, known, said
from connectors.kafka.columns import of_poll
from connectors.kafka.commits import Commits
from connectors.kafka.connection import Connection
from connectors.kafka.dead_letters import DeadLetters, Letter, letter_topic
from connectors.kafka.pace import STRETCH, TURN, Pace
from connectors.kafka.partitions import GRACE, LETTERS, Partition, balance, metadata_of
from connectors.kafka.quirks import (
    fenced,
    joining,
    leaderless,
    make_no_topics,
    not_allowed,
    offsets,
    unpark,
    unreadable,
)
from connectors.kafka.records import Codec, KafkaBatch, Records
from connectors.kafka.whole import Unpacking, hand_out_whole
from connectors.source import Custody, SourceError, UnusableError

QUIET = 2 * SECOND  # without a record for so long: ask the brokers for the ends, which tells whether they are there
SILENT = 3 * SECOND  # without an answer for so long: say so
AGAIN = SECOND  # between two questions to silent brokers: meanwhile other sources are not kept waiting
RETRY = 5 * SECOND  # until dead letters that could not be written are tried again
UNASSIGNED = 10 * SECOND  # without a partition for so long: say so
ASK_MS = 250.0  # how long a question to the brokers may take, beyond an idle fetch before it
JOIN_MS = 50.0  # how long a turn waits at least while it is not yet a member of the group
REJOIN_MS = 500.0  # and while partitions are dealt out anew: the client forgets what it was dealt between two polls
CLOSE_MS = 2_000

Library = Literal["kafka-python", "confluent"]

_DEFAULTS: Settings = {
    "group_id": "heed",
    "allow_auto_create_topics": False,
    "auto_offset_reset": "latest",
    "reconnect_backoff_max_ms": 1_000,
    "metadata_max_age_ms": 30_000,  # how long a new topic or partition may go unseen
    "fetch_max_wait_ms": 100,  # a broker answers one question at a time: others wait behind an idle fetch
    "max_poll_records": 10_000,  # readings, really, and more while turns are short (Pace)
    "partition_assignment_strategy": [CooperativeStickyAssignor],
    "metrics_enabled": False,
}
# The reset policy is applied by Assignment, which counts what is lost; the client's own would skip in silence.
_FIXED: Settings = {"enable_auto_commit": False, "bootstrap_timeout_ms": None, "auto_offset_reset": "none"}


class KafkaSource:
    """Reads ``topics``, or all that match ``pattern``, in the group that ``client`` (librdkafka's settings) names.

    Reads on from where ``seek`` said; else from the group's committed offset, else as ``auto.offset.reset`` says.
    Messages that can't be decoded go to ``dead_letter`` (default ``<group.id>.dlq``). ``instance`` makes it a static
    member unless ``client`` names one. ``library`` is the client that reads; dead letters are always kafka-python's.
    ``seed``, ``learning`` and ``custody``: see Assignment. ``turn`` (ns): see Pace.
    Raises ValueError where settings make no sense; while no broker answers,
    polls are empty and ``problem`` says so.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        codec: Codec,
        partitions: PartitionTable,
        clock: Clock,
        topics: Sequence[str] = (),
        pattern: str | None = None,
        dead_letter: str | None = None,
        instance: str | None = None,
        seed: int = 0,
        learning: Callable[[int], None] = lambda until: None,
        library: Library = "kafka-python",
        custody: Custody | None = None,
        turn: int = TURN,
    ) -> None:
        if bool(topics) == bool(pattern):
            raise ValueError("write either topics or a pattern")
        self._topics, self._pattern = list(topics), _checked_pattern(pattern)
        own = client if library == "kafka-python" else known(client)
        given = consumer_settings(own)
        settings = {**_DEFAULTS, "group_instance_id": instance, **given}
        self._servers = ",".join(settings["bootstrap_servers"])
        self._letters = DeadLetters(letter_topic(dead_letter, settings["group_id"]), own)
        self._assignment = Assignment(partitions, settings["auto_offset_reset"], seed, learning, custody)
        self._commits = Commits(self._assignment, clock.now)
        self._connection = _connection(library, client, settings)
        self._ask_ms = ASK_MS + settings["fetch_max_wait_ms"]
        self._batch = KafkaBatch(codec, self._letters)
        self._clock = clock
        self._consumer: KafkaConsumer | None = None
        self._answers = Answers(None, clock.now)
        self._unpacking = Unpacking()
        stretch = 1 if "max_poll_records" in given else STRETCH
        self._pace = Pace(settings["max_poll_records"], stretch, turn)
        self._heard = clock.now()  # when a broker last answered
        self._looked = self._heard  # when this last looked for an answer
        self._asked = 0  # when the brokers were last asked without need
        self._spoke = False  # they have brought anything at all
        self._back = self._grace = 0  # when they last answered after a silence, and how long producers may need then
        self._assigned = self._heard  # when there last was a partition to read
        self._trouble: str | None = None  # what the client last complained of
        self._unplaced: str | None = None  # why it is not known where to read partitions from
        self._denied: str | None = None  # what brokers don't let this client read
        self._closed = False

    def poll(self, until: int) -> Batch:
        """Readings that have come, waiting for the first at most until the clock shows ``until``.

        A quiet or silent broker is asked how far its partitions go, which may take ``ASK_MS`` beyond that; while all
        are silent, no partition counts as read to its end. Raises SourceError where another process has taken this
        one's place, or the client refuses its settings.
        """
        self._pace.over(self._clock.now())
        consumer = self._connected(until)
        if consumer is None:
            self._looked = self._clock.now()
            return self._batch.built({}, [], self._parts(), self._looked)
        ended = self._assignment.settle()
        if any(part.doubted for part in self._parts()):
            until = min(until, self._clock.now() + LONG)  # by then it is known
        polled: Records = {}
        while True:
            changed = self._prepare(consumer)  # then the client has to look again at what it holds, before it waits
            polled = self._fetched(consumer, min(until, self._clock.now()) if changed else until)
            ended += self._assignment.settle()
            polled = {number: found for number, found in polled.items() if self._assignment.has(found[0])}
            if polled or self._closed or self._clock.now() >= until:
                break
        before, now = self._looked, self._clock.now()
        self._looked = now
        self._listen(consumer, now, polled)
        self._wait_for_producers(now - before)
        self._doubt()
        self._batch.count("lost", self._assignment.take_lost())
        self._batch.count("unpacked_singly", self._unpacking.take_singly())
        batch = self._batch.built(polled, ended, self._parts(), now)
        self._pace.came(len(batch), sum(len(columns) for _, columns in polled.values()), now)
        self._hold_back(consumer, now)
        silent = now - self._heard > SILENT  # nobody knows then where partitions end, and time must not close windows
        return replace(batch, at_end=()) if silent else batch

    def standing(self) -> tuple[Any, dict[str, str]] | None:
        """Who this process is in its group, and the partitions it has, with what is committed beside their offsets.

        None while it is in no group. In this order: what was taken away before somebody looked is not among them.
        """
        if self._consumer is None or self._closed:
            return None
        member = self._consumer.group_metadata()
        held, now = set(self._assignment.held(member.member_id)), self._clock.now()
        return member, {part.name: metadata_of(part, now) for part in self._parts() if part.name in held}

    def seek(self, positions: Mapping[str, int]) -> None:
        """Read these partitions from here when they are ours, whatever offset the broker has committed."""
        self._assignment.want(positions)

    def remember(self, positions: Mapping[str, int]) -> None:
        """How far this process had come when it ended; if others have read on since then, so does it."""
        self._assignment.remember(positions)

    def commit(self, positions: Mapping[str, int]) -> None:
        """Tell the broker these offsets, without waiting; what it does not take is told again with the next."""
        if self._consumer is not None:
            try:
                self._commits.tell(self._consumer, positions)
            except KafkaError as error:
                self._trouble = said(error)

    @property
    def done(self) -> bool:
        """A topic never ends."""
        return self._closed

    @property
    def problem(self) -> str | None:
        """What keeps readings from coming, for people; None = nothing."""
        silent = self._looked - self._heard  # not while heed itself was away, with a commit that took long, say
        if silent > SILENT and self._denied:
            return self._denied  # it did answer, and said no
        if self._consumer is None or silent > SILENT:
            why = f": {trouble}" if (trouble := self._connection.trouble) else ""
            return f"no broker of {self._servers} answers since {silent // SECOND} s{why}"
        unassigned = self._looked - self._assigned
        if unassigned > UNASSIGNED:
            what = ", ".join(self._topics) or f"topics like {self._pattern}"
            return f"no partition of {what} to read since {unassigned // SECOND} s: does it exist, do others read it?"
        complaint = self._trouble or self._unplaced or self._assignment.problem or self._commits.refused
        return complaint or self._unled() or self._held()

    def _unled(self) -> str | None:
        """Which partitions nobody can read just now; an election takes less than that."""
        now = self._clock.now()
        found = [part.name for part in self._parts() if not part.led and now - part.since > SILENT]
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return f"no broker leads {', '.join(found[:5])}{more}: nothing can be read there" if found else None

    def _held(self) -> str | None:
        """Which partitions wait for their dead letters to be written, and why they can't be."""
        held = [part for part in self._parts() if part.held]
        if not held:
            return None
        why = self._letters.problem or "dead letters can't be written"
        late = any(part.left_behind(self._clock.now()) for part in held)
        what = "event time no longer waits for" if late else "event time waits for"
        return f"{why}; {what} {', '.join(part.name for part in held[:5])}"

    @property
    def remark(self) -> str | None:
        """What works and costs more than it should, for people; None = nothing."""
        why = self._unpacking.why_not
        return why and f"records are unpacked one by one, which takes several times the CPU: {why}"

    def lag(self) -> dict[str, int]:
        """Records behind, by partition, as far as known."""
        return {part.name: part.lag for part in self._parts()}

    def close(self) -> None:
        """Tell the broker what commit said last, and leave; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._consumer is not None:
            self._commits.tell_last(self._consumer, CLOSE_MS)
        self._connection.close(CLOSE_MS)
        self._letters.close()

    def _parts(self) -> list[Partition]:
        return list(self._assignment.parts.values())

    def _connected(self, until: int) -> KafkaConsumer | None:
        if self._consumer is None and not self._closed:
            try:
                consumer = self._connection.wait((until - self._clock.now()) / SECOND)
            except (KafkaError, OSError) as error:
                kind = UnusableError if isinstance(error, KafkaConfigurationError) else SourceError
                raise kind(f"Kafka at {self._servers}: {error}") from error
            except Exception as error:
                raise UnusableError(f"Kafka at {self._servers}: {error}") from error
            if consumer is not None:
                self._subscribe(consumer)
        return None if self._closed else self._consumer

    def _subscribe(self, consumer: KafkaConsumer) -> None:
        make_no_topics(consumer)
        self._unpacking = hand_out_whole(consumer)
        self._answers = Answers(consumer, self._clock.now)
        self._assignment.attach(consumer)
        if self._pattern is None:
            consumer.subscribe(topics=self._topics, listener=self._assignment)
        else:
            consumer.subscribe(pattern=self._pattern, listener=self._assignment)
        self._consumer = consumer
        self._heard = self._assigned = self._clock.now()

    def _prepare(self, consumer: KafkaConsumer) -> bool:
        """Place new partitions; make the others wait, or not. True where that has changed for any."""
        now, parts = self._clock.now(), self._parts()
        new = [part for part in parts if not part.placed]
        try:
            if self._assignment.place(self._ask_ms, now):
                self._answered(now)
                self._answers.note(part.at for part in new if part.placed)
            for part in new:
                part.grace = max(0, self._back + self._grace - now)
            self._unplaced = None
        except SourceError as error:
            self._unplaced = str(error)
        except KafkaError as error:
            self._trouble = said(error)
        self._try_letters_again(parts, now)
        balance(parts, now)
        if parts:
            self._assigned = now
        paused, waiting = consumer.paused(), {part.at for part in parts if part.waits}
        resumed = {part.at for part in parts if not part.waits and part.at in paused}
        consumer.pause(*waiting - paused)
        consumer.resume(*resumed)
        unpark(consumer)
        return bool(resumed or waiting - paused)

    def _try_letters_again(self, parts: Sequence[Partition], now: int) -> None:
        """What was written meanwhile, also where others waited for the same, has waited and is not late."""
        again = [part for part in parts if LETTERS in part.waits and 0 < part.retry <= now]
        for part in parts if again else ():
            if part.waits:
                part.since = now
        for part in again:
            part.wait(LETTERS, False)
            part.retry = 0

    def _fetched(self, consumer: KafkaConsumer, until: int) -> Records:
        left_ms = max(1.0, (until - self._clock.now()) / 1e6)
        try:
            polled = consumer.poll(timeout_ms=_wait_ms(consumer, left_ms), max_records=self._pace.records)
        except NoOffsetForPartitionError:
            return {}  # Assignment places what is new
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._misplaced(error)
            return {}
        except FencedInstanceIdError as error:
            raise SourceError(_double(consumer)) from error
        except Exception as error:
            self._failed(consumer, error, until)
            return {}
        if fenced(consumer):
            raise SourceError(_double(consumer))
        self._trouble = self._denied = not_allowed(consumer)
        parts = self._assignment.parts
        return {parts[at].number: (parts[at], of_poll(found)) for at, found in polled.items() if at in parts}

    def _misplaced(self, error: OffsetOutOfRangeError | LogTruncationError) -> None:
        """Retention or an unclean election took the offset away under the consumer."""
        offsets = error.divergent_offsets if isinstance(error, LogTruncationError) else error.args[0]
        for at in offsets:
            if at in self._assignment.parts:
                self._assignment.unplace(at, self._assignment.parts[at].position)

    def _failed(self, consumer: KafkaConsumer, error: Exception, until: int) -> None:
        """Step over a record that the client can't unpack; wait a little after anything else."""
        corrupt = isinstance(error, CorruptRecordError) or not isinstance(error, KafkaError)
        found = unreadable(consumer) if corrupt else None
        if found is None:
            self._trouble = said(error)
            self._denied = self._trouble if isinstance(error, AuthorizationError) else None
            self._clock.wait(min(until, self._clock.now() + SECOND // 5))
            return
        at, offset = found
        letter = Letter(at.topic, at.partition, offset, None, None, (), -1, "unreadable", said(error))
        if at in self._assignment.parts:
            self._batch.step_over(self._assignment.parts[at], letter, self._clock.now())
            consumer.seek(at, self._assignment.parts[at].position)

    def _hold_back(self, consumer: KafkaConsumer, now: int) -> None:
        """Let partitions whose dead letters have just failed come again from there, later."""
        for part in self._parts():
            if LETTERS in part.waits and not part.retry:
                part.retry = now + RETRY
                consumer.seek(part.at, part.position)
                consumer.pause(part.at)

    def _listen(self, consumer: KafkaConsumer, now: int, came: Collection[int]) -> None:
        """Note that a broker answered, or ask one where it has been quiet; take note of where partitions end."""
        parts = [part for part in self._parts() if part.placed]
        self._spoke |= bool(came)
        if came or (not parts and consumer.group_metadata().state == MemberState.STABLE):
            self._answered(now)  # a member without partitions hears from its group, at least
        elif parts and now - self._heard > QUIET and (now - self._heard < SILENT or now - self._asked > AGAIN):
            self._ask(consumer, parts, now)
        self._note_leaders(consumer, now)
        for part in parts:
            part.end = max(part.end, _known(consumer.highwater, part.at))
            if part.number not in came and not part.at_end:  # transaction markers at the end are no records
                part.position = max(part.position, _known(consumer.position, part.at))

    def _doubt(self) -> None:
        """Before what came is counted: which ends are too old to be believed once they are reached."""
        parts = self._parts()
        stale = self._answers.stale([part.at for part in parts])
        for part in parts:
            part.fresh = part.at not in stale

    def _wait_for_producers(self, passed: int) -> None:
        """Of the time for which partitions are waited for, only that counts in which brokers answered."""
        if self._looked - self._heard <= SILENT:
            for part in self._parts():
                part.grace = max(0, part.grace - min(passed, SECOND))

    def _note_leaders(self, consumer: KafkaConsumer, now: int) -> None:
        """What is written to a partition while nobody can read it waits for the brokers, not for heed."""
        without = leaderless(consumer, self._assignment.parts)
        for part in self._parts():
            if part.led != (part.at not in without):
                part.led, away = not part.led, now - part.since
                part.since = now
                if part.led:
                    part.back(now, away)

    def _ask(self, consumer: KafkaConsumer, parts: Sequence[Partition], now: int) -> None:
        self._asked = now
        try:
            ends = offsets(consumer, consumer.end_offsets, [part.at for part in parts], self._ask_ms)
        except KafkaError:
            return  # silence tells
        for part in parts:
            part.end = max(part.end, ends.get(part.at, -1))
        if ends:
            self._answers.note(ends)
            self._answered(now)

    def _answered(self, now: int) -> None:
        if now - self._heard > SILENT:
            away = now - self._heard if self._spoke else 0  # else this has just begun
            self._back, self._grace = now, min(away, GRACE)
            for part in self._parts():
                part.back(now, self._grace)
        self._heard = now


def _connection(library: Library, client: Mapping[str, object], settings: Settings) -> Any:
    """What opens the consumer. Raises ValueError where the client refuses its settings or is not installed."""
    if library == "kafka-python":
        return Connection({**settings, **_FIXED})
    try:
        from connectors.kafka.confluent import ConfluentConnection
    except ImportError as error:
        raise ValueError(f"client_library: confluent needs heed-monitor[fast]: {error}") from error
    return ConfluentConnection(client, settings)


def _wait_ms(consumer: KafkaConsumer, left_ms: float) -> float:
    """How long to let the client work: joining the group gets on only while somebody waits for it."""
    if joining(consumer):
        return max(left_ms, REJOIN_MS)
    member = consumer.group_metadata().state != MemberState.UNJOINED
    return left_ms if member or consumer.config["group_id"] is None else JOIN_MS


def _known(ask: Any, at: TopicPartition) -> int:
    """What the client knows of a partition without asking a broker; -1 = nothing."""
    try:
        found = ask(at, timeout_ms=0) if ask.__name__ == "position" else ask(at)
    except KafkaError:
        return -1
    return -1 if found is None else int(found)


def _double(consumer: KafkaConsumer) -> str:
    member, group = consumer.config["group_instance_id"], consumer.config["group_id"]
    return f"another process reads as the same member {member!r} of the group {group!r}"


def _checked_pattern(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    return pattern
