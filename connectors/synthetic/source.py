"""A source that brings the readings of the synthetic world as they fall due, on any clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from connectors.batch import Batch, PartitionTable, StreamTable, empty
from connectors.clock import Clock
from connectors.source import SourceError
from connectors.synthetic.world import World

_READINGS_A_POLL = 65_536


class SyntheticSource:
    """Readings of a world, each due at its own time; offsets are step numbers (all streams of a step share one).

    ``clock`` may be changed between polls: readings that were due before the clock was given are backlog (those of
    a restart, or made up for after a fast run). Ends before ``end_ns`` where that is given.
    """

    def __init__(
        self,
        world: World,
        streams: StreamTable,
        partitions: PartitionTable,
        clock: Clock,
        first: int = 0,
        end_ns: int | None = None,
        name: str = "synthetic/0",
    ) -> None:
        self._world, self._name, self._next = world, name, first
        self._partition = partitions.number(name)
        self._slots = np.array(
            [
                streams.slot(stream, group, labels, world.step_ns, world.start_ns)
                for stream, group, labels in zip(world.names, world.groups, world.labels, strict=True)
            ],
            np.int32,
        )
        self._last = None if end_ns is None else -((world.start_ns - end_ns) // world.step_ns)
        self._told_end = False
        self._most = max(1, _READINGS_A_POLL // len(world))
        self.clock = clock

    @property
    def clock(self) -> Clock:
        """What tells which readings are due."""
        return self._clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._clock, self._up = clock, clock.now()

    def _time(self, k: int) -> int:
        return self._world.start_ns + k * self._world.step_ns

    def _due(self) -> int:
        """Steps that are due and not brought yet."""
        passed = (self._clock.now() - self._world.start_ns) // self._world.step_ns + 1
        return max(0, (passed if self._last is None else min(passed, self._last)) - self._next)

    def poll(self, until: int) -> Batch:
        """Steps that are due, oldest first; waits for the next at most until the clock shows ``until`` (ns)."""
        if self._told_end:
            return empty()
        if not self._due() and not self._exhausted:
            self._clock.wait(min(until, self._time(self._next)))
        due = self._due()
        n = min(due, self._most)
        batch = self._take(n, at_end=n == due)
        self._told_end = self._exhausted
        return batch

    def _take(self, n: int, at_end: bool) -> Batch:
        values = self._world.step(self._next, n)
        rows, columns = np.nonzero(~np.isnan(values))
        steps = rows + self._next
        times = self._world.start_ns + steps * self._world.step_ns
        self._next += n
        end = (self._partition,) if at_end else ()
        return Batch(
            self._slots[columns],
            times,
            times,
            values[rows, columns],
            np.full(len(rows), self._partition, np.int32),
            steps,
            {self._partition: self._next} if n else {},
            end,
            (self._partition,) if self._exhausted else (),
            times < self._up,
            {"records": n} if n else {},
        )

    @property
    def _exhausted(self) -> bool:
        return self._last is not None and self._next >= self._last

    @property
    def done(self) -> bool:
        """True when the end was reached and told."""
        return self._told_end

    def seek(self, positions: Mapping[str, int]) -> None:
        """Read on from this step, whichever came before."""
        to = positions.get(self._name, self._next)
        if to < 0:
            raise SourceError(f"{self._name}: there is no step {to}; positions start at 0")
        self._next = to

    def commit(self, positions: Mapping[str, int]) -> None:
        """Nobody else wants to know."""

    def close(self) -> None:
        """Nothing to let go of."""
