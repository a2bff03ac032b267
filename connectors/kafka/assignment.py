"""Which partitions are ours, and where to read each from: rebalances, wanted offsets, retention, the reset policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.structs import MemberState

from connectors.batch import SECOND, PartitionTable
from connectors.kafka.partitions import UNPLACED, Partition, name, parsed, times_in
from connectors.kafka.quirks import membership, offsets
from connectors.source import Custody

AGAIN = SECOND  # until it is tried again to place a partition that no broker leads


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """The partitions of this consumer. A new one is paused until it is placed, so that nothing is read twice.

    The broker's committed offset is only where nobody wanted another one; a partition that comes back to this process
    is read on from where it was read to, if nobody else got further.

    With ``custody`` the state of a partition goes where the partition goes, and reading begins where that state ends.

    ``seed`` (ns): where nothing else was wanted, so much history is read before the offset at which reading begins;
    ``learning`` is told the event time up to which it is history. What comes later, when others are read already,
    is not seeded: its history would be late, and nobody is judged who learns.
    """

    def __init__(
        self,
        table: PartitionTable,
        reset: str,
        seed: int = 0,
        learning: Callable[[int], None] = lambda until: None,
        custody: Custody | None = None,
    ) -> None:
        self.parts: dict[TopicPartition, Partition] = {}
        self.lost = 0  # records that were gone before they could be read
        self._table, self._reset, self._seed, self._learning = table, reset, seed, learning
        self._custody = custody
        self._wanted: dict[TopicPartition, int] = {}
        self._known: dict[str, set[int]] = {}  # by topic: partitions that it had when it was first met, or since
        self._left: dict[TopicPartition, int] = {}  # how far partitions had been read when they were taken away
        self._again: set[TopicPartition] = set()  # taken, since we were out of the group; perhaps dealt to us again
        self._changes: deque[tuple[bool, list[TopicPartition]]] = deque()  # given or taken; from the client's thread
        self._consumer: KafkaConsumer | None = None

    def attach(self, consumer: KafkaConsumer) -> None:
        """The consumer that is about to subscribe."""
        self._consumer = consumer

    def want(self, positions: Mapping[str, int]) -> None:
        """Read these from here, whatever the broker has committed; names of other sources are ignored."""
        for text, offset in positions.items():
            at = parsed(text)
            if at is not None:
                self._wanted[at] = offset
                if at in self.parts:
                    self.unplace(at, offset)

    def remember(self, positions: Mapping[str, int]) -> None:
        """How far this process had come; if the group has committed more, others have read on since, and so it does."""
        self._left |= {at: offset for text, offset in positions.items() if (at := parsed(text)) is not None}

    def unplace(self, at: TopicPartition, offset: int) -> None:
        """Settle anew where to read a partition from: ``offset``, or what is nearest to it."""
        if at in self.parts:
            self._wanted[at] = offset
            self.parts[at].wait(UNPLACED, True)
            self._pause([at])

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Called by the client, on its own thread, before it fetches."""
        self._pause(assigned)
        self._changes.append((True, sorted(assigned)))

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called by the client, on its own thread; lost partitions come here too."""
        self._changes.append((False, sorted(revoked)))

    def _pause(self, partitions: Collection[TopicPartition]) -> None:
        """Without those that the client has given away meanwhile: it pauses none that it does not have."""
        if self._consumer is not None:
            self._consumer.pause(*self._consumer.assignment() & set(partitions))

    def take_lost(self) -> int:
        """Records that were gone before they could be read, since the last call."""
        lost, self.lost = self.lost, 0
        return lost

    def settle(self) -> list[int]:
        """Take note of what was given and taken; returns the numbers of partitions that are no longer ours."""
        self._give_anew()
        taken: list[TopicPartition] = []
        while self._changes:
            given, partitions = self._changes.popleft()
            for at in partitions:
                if given:
                    self._give(at)
                elif at in self.parts:
                    self._take(at)
                    taken.append(at)
        if self._custody is not None and taken:
            self._custody.leave([name(at) for at in dict.fromkeys(taken)])
            return []
        return [self._table.number(name(at)) for at in dict.fromkeys(taken) if at not in self.parts]

    def _give_anew(self) -> None:
        """Take what the group may have given to somebody else meanwhile; if it is dealt to us again, it begins anew."""
        if self._consumer is None:
            return
        member = membership(self._consumer)
        changed = [at for at, part in self.parts.items() if part.others(member)]
        if changed:
            self._changes.append((False, changed))
            self._again.update(changed)
        if self._again and self._consumer.group_metadata().state == MemberState.STABLE:
            self._changes.append((True, sorted(self._again & self._consumer.assignment())))
            self._again.clear()

    @property
    def problem(self) -> str | None:
        """Why the state of partitions can't be kept, where it should be."""
        return None if self._custody is None else self._custody.problem

    def has(self, part: Partition) -> bool:
        """Whether it was not taken away since, or taken away and given again."""
        return self.parts.get(part.at) is part

    def held(self, member: str | None) -> list[str]:
        """Partitions whose place is settled, and that nobody has taken as far as the client knows by now.

        ``member``: who this process is in its group.
        """
        changes = list(self._changes)  # the client's thread may add to it
        taken = {at for given, partitions in changes if not given for at in partitions}
        return [
            part.name for at, part in self.parts.items() if part.placed and at not in taken and not part.others(member)
        ]

    def _give(self, at: TopicPartition) -> None:
        if at not in self.parts:
            self.parts[at] = Partition(at, name(at), self._table.number(name(at)), self._left.pop(at, None))
        if self._consumer is not None and at in self._consumer.assignment():
            self._consumer.seek(at, 0)  # anywhere: while one has no place, the client brings nothing of the others

    def _take(self, at: TopicPartition) -> None:
        part = self.parts.pop(at)
        if self._custody is not None:
            return
        known = [offset for offset in (part.remembered, part.position if part.position >= 0 else None) if offset]
        if known:
            self._left[at] = max(known)

    def place(self, timeout_ms: float, now: int) -> bool:
        """Settle where to read new partitions from; True if any was placed. Raises KafkaError without an answer, and
        SourceError where no state is to be had. Those that no broker leads have to wait.
        """
        new = [part for part in self.parts.values() if not part.placed and now - part.asked >= AGAIN]
        if not new or self._consumer is None:
            return False
        member = membership(self._consumer)  # before anything is read that another member may write
        if member == "":
            return False  # these are somebody else's by now
        for part in new:
            part.member = part.member if part.adopted else member
        self._adopt([part for part in new if not part.adopted])
        places = [part.at for part in new]
        starts = offsets(self._consumer, self._consumer.beginning_offsets, places, timeout_ms)
        ends = offsets(self._consumer, self._consumer.end_offsets, places, timeout_ms)
        known = [part for part in new if part.at in starts and part.at in ends]
        for part in known:
            self._place(part, starts[part.at], ends[part.at], timeout_ms, now)
        if known:
            self._seed = 0
        for part in new:
            part.asked = now
        return bool(known)

    def _place(self, part: Partition, start: int, end: int, timeout_ms: float, now: int) -> None:
        assert self._consumer is not None
        wanted, said = self._wish(part, timeout_ms)
        part.position = self._nearest(wanted, start, end, self._added(part.at))
        part.end, part.since = end, now
        if self._seed and part.at not in self._wanted and part.remembered is None:
            self._go_back(part, start, times_in(said, now), timeout_ms)
        self._consumer.seek(part.at, part.position)
        self._wanted.pop(part.at, None)
        part.remembered = None
        part.wait(UNPLACED, False)

    def _adopt(self, parts: Collection[Partition]) -> None:
        if self._custody is None or not parts:
            return
        for text, offset in self._custody.adopt([part.name for part in parts]).items():
            at = parsed(text)
            if at is not None:
                self._wanted[at] = offset
        for part in parts:
            part.adopted = True

    def _wish(self, part: Partition, timeout_ms: float) -> tuple[int | None, str | None]:
        """Where to read from, and what was committed beside that offset."""
        wanted = self._wanted.get(part.at)
        if wanted is not None and part.remembered is None:
            return wanted, None
        committed = self._committed(part, timeout_ms)
        if wanted is not None and (committed is None or committed.offset <= (part.remembered or 0)):
            return wanted, None
        if committed is None:
            return part.remembered, None
        return max(committed.offset, part.remembered or 0), committed.metadata

    def _committed(self, part: Partition, timeout_ms: float) -> OffsetAndMetadata | None:
        assert self._consumer is not None
        if self._consumer.config["group_id"] is None:
            return None
        found: OffsetAndMetadata | None = self._consumer.committed(part.at, metadata=True, timeout_ms=timeout_ms)
        return found

    def _go_back(self, part: Partition, start: int, last: tuple[int, int], timeout_ms: float) -> None:
        """Read from ``seed`` earlier, to learn; ``last``: event time of what was read last, and when that was (ns)."""
        assert self._consumer is not None
        until, read_at = last
        since_ms = (read_at - self._seed) // 1_000_000
        found = self._consumer.offsets_for_times({part.at: since_ms}, timeout_ms=timeout_ms).get(part.at)
        earlier = part.position if found is None else min(found.offset, part.position)
        part.floor, part.position = part.position, max(start, earlier)
        if part.position < part.floor:
            self._learning(until)

    def _added(self, at: TopicPartition) -> bool:
        """Whether the partition was added to a topic that was being read: then all of it is news."""
        assert self._consumer is not None
        known = self._known.get(at.topic)
        if known is None:
            known = self._known[at.topic] = set(self._consumer.partitions_for_topic(at.topic) or ())
        new = at.partition not in known
        known.add(at.partition)
        return new

    def _nearest(self, wanted: int | None, start: int, end: int, added: bool) -> int:
        """The offset to read from: the wanted one where it still is, else by ``auto.offset.reset``."""
        if wanted is not None and start <= wanted <= end:
            return wanted
        if wanted is not None and wanted < start:  # retention was faster: read what is left
            self.lost += start - wanted
            return start
        return start if added or self._reset == "earliest" else end
