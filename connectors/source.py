"""What every source promises, and several sources read as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from connectors.batch import Batch, concat
from connectors.clock import Clock


class SourceError(Exception):
    """A source can't be read; the message says which and what to do."""


class UnusableError(SourceError):
    """The settings of a source can't be used: trying again does not help."""


class RefusedTopicError(SourceError):
    """A topic takes no messages; others may."""

    def __init__(self, topic: str, why: str) -> None:
        super().__init__(f"the topic {topic} takes no messages: {why}")
        self.topic = topic


class UndecidedError(SourceError):
    """What was written may have been taken or not: what is there tells, once it can be read."""


class Custody(Protocol):
    """Who keeps the state of partitions where every process of a group can read it. Called between two turns."""

    def adopt(self, partitions: Sequence[str]) -> Mapping[str, int]:
        """These partitions are ours now: go on with their state; the offsets to read next, where there is a state.

        Raises SourceError where that can't be known now; it is asked again.
        """
        ...

    def leave(self, partitions: Sequence[str]) -> None:
        """These partitions are somebody else's now, or nobody's."""
        ...

    @property
    def problem(self) -> str | None:
        """Why their state can't be kept now, for people; None = it can."""
        ...


class Source(Protocol):
    """Where readings come from. The contract suite in tests/contract runs against every implementation."""

    def poll(self, until: int) -> Batch:
        """Readings that have come; waits for the first at most until the clock shows ``until`` (ns).

        Never waits longer, never raises for a bad message (it is counted in ``Batch.counts``). An empty batch means
        that time passed. After the end every poll is empty.
        """
        ...

    def seek(self, positions: Mapping[str, int]) -> None:
        """Read on from these offsets (partition name to the offset to read next); called before the first poll."""
        ...

    def commit(self, positions: Mapping[str, int]) -> None:
        """State up to these positions is durable: tell whoever wants to know (Kafka's committed offsets)."""
        ...

    @property
    def done(self) -> bool:
        """True when no poll will ever bring anything more."""
        ...

    def close(self) -> None:
        """Let go of files, threads and connections; safe to call twice."""
        ...


class Merged:
    """Several live sources read as one: each gets a share of the wait in turn."""

    def __init__(self, sources: Sequence[Source], clock: Clock, share_ns: int = 10_000_000) -> None:
        self._sources, self._clock, self._share = list(sources), clock, share_ns

    def poll(self, until: int) -> Batch:
        while True:
            batches = [self._poll_one(source, until) for source in self._sources if not source.done]
            merged = concat(batches)
            said = len(merged) or merged.positions or merged.counts or merged.ended  # would be lost with the next round
            if said or self.done or self._clock.now() >= until:
                return merged

    def _poll_one(self, source: Source, until: int) -> Batch:
        return source.poll(min(until, self._clock.now() + self._share))

    def seek(self, positions: Mapping[str, int]) -> None:
        for source in self._sources:
            source.seek(positions)

    def commit(self, positions: Mapping[str, int]) -> None:
        for source in self._sources:
            source.commit(positions)

    @property
    def done(self) -> bool:
        return all(source.done for source in self._sources)

    def close(self) -> None:
        for source in self._sources:
            source.close()
