"""Tells the group how far this process has come: a courtesy, since its state keeps positions of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import AuthorizationError, KafkaError

from connectors.kafka.assignment import Assignment
from connectors.kafka.client import said
from connectors.kafka.partitions import Partition, metadata_of, parsed


class Commits:
    """Commits offsets without waiting for the answer; what the broker does not take is told again with the next.

    ``now`` gives ns.
    """

    def __init__(self, assignment: Assignment, now: Callable[[], int]) -> None:
        self._assignment, self._now = assignment, now
        self.refused: str | None = None  # why the broker does not let the group say how far it is

    def tell(self, consumer: KafkaConsumer, positions: Mapping[str, int]) -> None:
        """These positions, of partitions that are ours and were not told before. Raises KafkaError."""
        told = []
        for text, offset in positions.items():
            at = parsed(text)
            part = self._assignment.parts.get(at) if at is not None else None
            if part is not None and part.placed and offset != part.committed and offset >= part.floor:
                part.told = offset
                told.append(part)
        if told:
            consumer.commit_async(dict(map(self._offset, told)), callback=self._taken)

    def tell_last(self, consumer: KafkaConsumer, timeout_ms: float) -> None:
        """What was told last and not taken yet, once more, before the consumer is closed."""
        told = [part for part in self._assignment.parts.values() if part.told not in (-1, part.committed)]
        if told:
            with suppress(KafkaError):
                consumer.commit(dict(map(self._offset, told)), timeout_ms=timeout_ms)

    def _offset(self, part: Partition) -> tuple[TopicPartition, OffsetAndMetadata]:
        return part.at, OffsetAndMetadata(part.told, metadata_of(part, self._now()), -1)

    def _taken(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], answer: object) -> None:
        """Called by the client, within a poll, when the broker has answered."""
        self.refused = said(answer) if isinstance(answer, AuthorizationError) else None
        for at, committed in offsets.items():
            if not isinstance(answer, Exception) and at in self._assignment.parts:
                self._assignment.parts[at].committed = committed.offset
