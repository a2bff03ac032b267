"""Replays recorded files on a clock that it winds: all files merged by the arrival of their readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectors.batch import Batch, Ints, PartitionTable, StreamTable, concat, empty
from connectors.clock import ReplayClock
from connectors.recordings.table import Labelled, Table, first_arrival, read
from connectors.slots import Slots, Stream

NEVER = 1 << 62  # ns; a wait until then or later means: nothing is due


class ReplaySource:
    """Reads files, or tables in memory, as if their readings were arriving now.

    Each file is a partition of its own, named by its path; offsets are row numbers. A reading arrives when the file
    says so, or with the highest event time of the file so far. A file is opened when its first reading arrives and
    let go after its last, so that files which follow each other are not all in memory. Where no file is live the
    clock jumps. ``window`` (ns, from inclusive, to exclusive) leaves readings outside out.
    """

    def __init__(
        self,
        files: Sequence[str | Path | Table],
        table: StreamTable,
        partitions: PartitionTable,
        clock: ReplayClock,
        window: tuple[int, int] | None = None,
    ) -> None:
        self._clock, self._partitions = clock, partitions
        self._slots = Slots(table)
        self._window = window or (-NEVER, NEVER)
        waiting = [(max(_first(file), self._window[0]), i) for i, file in enumerate(files)]
        self._waiting = [(at, files[i]) for at, i in sorted(waiting, reverse=True) if at < self._window[1]]
        self._files = max(1, len(self._waiting))
        self._open: list[_File] = []
        self._start: Mapping[str, int] = {}
        self._labelled: list[Labelled] = []
        self.notes: list[str] = []

    def seek(self, positions: Mapping[str, int]) -> None:
        self._start = dict(positions)

    def poll(self, until: int) -> Batch:
        """What has arrived by now; else what arrives until ``until``, which the clock then shows.

        Where nothing is due (``until`` >= NEVER) the clock stops at the next arrival. Where no file is live it jumps
        to the next one's first reading, be that after ``until``.
        """
        if self.done:
            return empty()
        if self._next() > self._clock.now():
            self._pass_time(until)
        return self._take(self._clock.now())

    def _next(self) -> int:
        """When the next reading arrives."""
        files = [file.next for file in self._open]
        return min([*files, self._waiting[-1][0]] if self._waiting else files)

    def _pass_time(self, until: int) -> None:
        if not self._open:
            self._clock.jump(self._waiting[-1][0])
        else:
            self._clock.wait(self._next() if until >= NEVER else until)

    def _take(self, now: int) -> Batch:
        while self._waiting and self._waiting[-1][0] <= now:
            self._open.append(self._opened(self._waiting.pop()[1]))
        batches = [file.take(now) for file in self._open if file.next <= now]
        ended = tuple(file.partition for file in self._open if file.ended)
        self._open = [file for file in self._open if not file.ended]
        batch = _by_arrival(concat(batches)) if len(batches) > 1 else concat(batches)
        return replace(
            batch,
            stream=self._slots.of(batch.stream),
            at_end=tuple(file.partition for file in self._open),
            ended=ended,
        )

    def _opened(self, file: str | Path | Table) -> _File:
        table = file if isinstance(file, Table) else read(file)
        streams = [
            Stream(name, group, {}, raster.step, raster.origin)
            for name, group, raster in zip(table.streams, table.groups, table.rasters, strict=True)
        ]
        self._labelled += table.labelled
        self.notes += [f"{table.path}: {note}" for note in table.notes]
        partition = self._partitions.number(table.path)
        start = self._start.get(table.path, 0)
        return _File(table, self._slots.add(streams), partition, start, self._window)

    def labelled(self) -> list[Labelled]:
        """Labelled stretches of the files opened so far: after the run, of all."""
        return list(self._labelled)

    @property
    def progress(self) -> float:
        """The share that was delivered, 0 to 1; each file counts the same."""
        left = len(self._waiting) + sum(file.left for file in self._open)
        return 1.0 - left / self._files

    def commit(self, positions: Mapping[str, int]) -> None:
        pass

    @property
    def done(self) -> bool:
        return not self._waiting and not self._open

    def close(self) -> None:
        self._waiting, self._open = [], []


def _first(file: str | Path | Table) -> int:
    if isinstance(file, Table):
        return int((file.ts if file.arrived is None else file.arrived)[0])
    return first_arrival(file)


class _File:
    """An open file: its columns, and how far they have been delivered."""

    def __init__(self, table: Table, first_stream: int, partition: int, start: int, window: tuple[int, int]) -> None:
        arrived = np.maximum.accumulate(table.ts if table.arrived is None else table.arrived)
        self._stream: Ints = table.stream + np.int32(first_stream)
        self._ts, self._value, self._row, self._arrived = table.ts, table.value, table.row, arrived
        inside = (table.ts >= window[0]) & (table.ts < window[1]) & (table.row >= start)
        if not inside.all():
            self._stream, self._ts, self._value = self._stream[inside], table.ts[inside], table.value[inside]
            self._row, self._arrived = table.row[inside], arrived[inside]
        self.partition, self._rows, self._counts = partition, table.rows, table.counts
        self._at, self._position = 0, start
        self.next = int(self._arrived[0]) if len(self._ts) else -NEVER  # ns, when the next reading arrives

    @property
    def ended(self) -> bool:
        """True when the last reading was delivered."""
        return self._at == len(self._ts)

    @property
    def left(self) -> float:
        """The share that was not delivered."""
        return 1.0 - self._at / max(1, len(self._ts))

    def take(self, now: int) -> Batch:
        """All that arrived by ``now``; streams by their numbers."""
        begin, end = self._at, int(self._arrived.searchsorted(now, "right"))
        self._at = end
        self.next = int(self._arrived[end]) if end < len(self._ts) else NEVER
        position = self._rows if self.ended else int(self._row[end - 1]) + 1
        counts = {"records": max(0, position - self._position), **self._counts}
        self._position, self._counts = position, {}
        own = slice(begin, end)
        return Batch(
            self._stream[own],
            self._ts[own],
            self._arrived[own],
            self._value[own],
            np.full(end - begin, self.partition, np.int32),
            self._row[own],
            {self.partition: position},
            counts=counts,
        )


def _by_arrival(batch: Batch) -> Batch:
    """Sorted by arrival; what arrived together stays in the order of the files."""
    order = np.argsort(batch.arrived, kind="stable")
    sorted_rows = batch.take(order)
    return replace(sorted_rows, positions=batch.positions, counts=batch.counts)
