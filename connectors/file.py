"""Readings from a file that grows and rotates, and from standard input: a JSON object or a row of CSV a line."""

from __future__ import annotations

import os
import queue
import select
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from connectors.batch import SECOND, Batch, PartitionTable, concat, empty
from connectors.clock import Clock
from connectors.formats.decoded import Decoded
from connectors.formats.lines import CsvRows, Line, Lines
from connectors.source import SourceError

CHUNK_BYTES = 1 << 20
LOOK_NS = 50_000_000  # how often a file that does not grow is looked at
BAD_KEPT = 100  # lines that gave no readings, for whoever wants to see some; all are counted
GENERATION_BITS = 48  # of an offset count bytes; those above count how often the file was begun anew
PIPE_BYTES, QUEUED_CHUNKS = 1 << 16, 256
STOP_S = 0.2  # how often the thread of standard input looks whether to stop

Decode = Callable[[Sequence[bytes]], Decoded]


class Bad(NamedTuple):
    """A line that gave no readings: where, a word to count by, and why."""

    offset: int
    reason: str
    text: str


class Chunk(NamedTuple):
    """Bytes from a pipe, none at its end, and when they came."""

    data: bytes
    arrived: int


class _Readings:
    """Lines of one partition to batches."""

    def __init__(self, decode: Decode, partition: int, csv: bool) -> None:
        self._decode, self._partition, self._csv = decode, partition, CsvRows() if csv else None
        self._headless = csv  # the next line is the header
        self.bad: deque[Bad] = deque(maxlen=BAD_KEPT)

    def begin(self, header: bytes = b"") -> None:
        """A file begins anew, or further down, where its header has to be given."""
        self._headless = self._csv is not None and not header
        if self._csv is not None and header:
            self._csv.header(header)

    def batch(self, lines: Sequence[Line], base: int, arrived: int, backlog: bool = False) -> Batch:
        """Decode lines; ``base`` is added to their offsets."""
        if self._headless and lines and self._csv is not None:
            self._csv.header(lines[0].text)
            self._headless, lines = False, lines[1:]
        if not lines:
            return empty()
        texts = [line.text for line in lines]
        found = self._decode(texts if self._csv is None else self._csv.objects(texts))
        offset = np.array([base + line.offset for line in lines], np.int64)
        self.bad += [Bad(int(offset[row]), reason, text) for row, reason, text in found.bad]
        undecodable = Counter(f"undecodable.{reason}" for _, reason, _ in found.bad)
        if found.bad:
            undecodable["undecodable"] = len(found.bad)
        n = len(found.ts)
        return Batch(
            found.stream,
            found.ts,
            np.full(n, arrived, np.int64),
            found.value,
            np.full(n, self._partition, np.int32),
            offset[found.row],
            backlog=np.full(n, True) if backlog else None,
            counts={"records": len(lines), **undecodable, **found.counts},
        )

    def take_bad(self) -> list[Bad]:
        """The newest lines that gave no readings since the last call, ``BAD_KEPT`` at most."""
        bad = list(self.bad)
        self.bad.clear()
        return bad


class FileSource:
    """Follows a file through growth and rotation, as ``tail -F`` does; without ``follow`` reads it to its end.

    An offset is a byte of the file, with a generation above it that counts rotations, so that offsets only rise.
    Its weakness: a file that was cut short and outgrew its old size between two looks is taken for the old one.
    """

    def __init__(
        self,
        path: str | Path,
        decode: Decode,
        partitions: PartitionTable,
        clock: Clock,
        follow: bool = True,
        csv: bool = False,
    ) -> None:
        self._path, self._clock, self._follow, self._csv = Path(path), clock, follow, csv
        self._name = str(path)
        self._partition = partitions.number(self._name)
        self._readings = _Readings(decode, self._partition, csv)
        self._file: FileIO | None = None
        self._lines = Lines()
        self._generation = 0
        self._waited = True  # what is read now waited before heed was up
        self._complete = 0  # ns, when the file was last read to its end
        self._done = False
        if not follow and not self._path.is_file():
            raise SourceError(f"{path}: there is no such file")

    def seek(self, positions: Mapping[str, int]) -> None:
        self._generation, start = divmod(positions.get(self._name, 0), 1 << GENERATION_BITS)
        self._lines = Lines(start)

    def poll(self, until: int) -> Batch:
        while not self._done:
            batch = self._read()
            if len(batch) or batch.counts or batch.ended or self._clock.now() >= until:
                return batch
            self._clock.wait(min(until, self._clock.now() + LOOK_NS))
        return empty()

    def _read(self) -> Batch:
        if self._file is None:
            self._file = self._begin()
        if self._file is None:
            self._waited = False
            return empty(at_end=(self._partition,))
        changed = os.fstat(self._file.fileno()).st_mtime_ns
        chunk = self._file.read(CHUNK_BYTES)
        base, lines = self._base, self._lines.feed(chunk)
        at_end = len(chunk) < CHUNK_BYTES
        if at_end and not self._follow:
            lines += self._lines.finish()
            self._done = True
        elif not chunk and self._replaced(self._file):
            lines += self._lines.finish()
            self._begin_next()
            at_end = False
        return self._batch(lines, base, changed, at_end)

    def _batch(self, lines: Sequence[Line], base: int, changed: int, at_end: bool) -> Batch:
        now = self._clock.now()
        # Written since the file was last read to its end, and before its latest change: the later bound is the better.
        arrived = min(now, max(self._complete, changed))
        batch = self._readings.batch(lines, base, arrived, self._waited)
        if at_end:
            self._waited, self._complete = False, now
        own = (self._partition,)
        return replace(
            batch,
            positions={self._partition: self._base + self._lines.at} if lines else {},
            at_end=own if at_end and not self._done else (),
            ended=own if self._done else (),
        )

    @property
    def _base(self) -> int:
        return self._generation << GENERATION_BITS

    def _begin(self) -> FileIO | None:
        try:
            file = FileIO(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{self._path}: can't be read: {error.strerror}") from error
        if os.fstat(file.fileno()).st_size < self._lines.at:  # another file stands there by now
            self._begin_next()
        at = self._lines.at
        self._readings.begin(file.readline() if at and self._csv else b"")
        file.seek(at)
        return file

    def _replaced(self, file: FileIO) -> bool:
        """True when the path leads to another file, or this one was cut short."""
        try:
            there, own = self._path.stat(), os.fstat(file.fileno())
        except FileNotFoundError:
            return False  # between the two moves of a rotation: the new file comes
        return there.st_ino != own.st_ino or there.st_dev != own.st_dev or own.st_size < file.tell()

    def _begin_next(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._lines = None, Lines()
        self._generation += 1

    def take_bad(self) -> list[Bad]:
        """The newest lines that gave no readings since the last call."""
        return self._readings.take_bad()

    def commit(self, positions: Mapping[str, int]) -> None:
        pass

    @property
    def done(self) -> bool:
        return self._done

    def close(self) -> None:
        self._done = True
        if self._file is not None:
            self._file.close()


class StdinSource:
    """Reads a pipe in a thread of its own; ends with it. Offsets are bytes, counted on from where ``seek`` says."""

    NAME = "stdin"

    def __init__(
        self, decode: Decode, partitions: PartitionTable, clock: Clock, descriptor: int = 0, csv: bool = False
    ) -> None:
        self._clock, self._descriptor = clock, descriptor
        self._partition = partitions.number(self.NAME)
        self._readings = _Readings(decode, self._partition, csv)
        self._lines, self._base = Lines(), 0
        self._chunks: queue.Queue[Chunk] = queue.Queue(QUEUED_CHUNKS)  # full: whoever writes has to wait
        self._stop = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._pump, name="stdin", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        data = b" "
        while data and not self._stop.is_set():
            if select.select([self._descriptor], [], [], STOP_S)[0]:
                data = os.read(self._descriptor, PIPE_BYTES)
                self._put(Chunk(data, self._clock.now()))

    def _put(self, chunk: Chunk) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._chunks.put(chunk, timeout=STOP_S)
                break

    def seek(self, positions: Mapping[str, int]) -> None:
        self._base = positions.get(self.NAME, 0)

    def poll(self, until: int) -> Batch:
        if self._done:
            return empty()
        while True:
            batch = self._batch(self._take(until))
            if len(batch) or batch.counts or batch.ended or self._clock.now() >= until:
                return batch

    def _take(self, until: int) -> list[Chunk]:
        chunks = self._waiting()
        if not chunks:
            until = min(until, self._clock.now() + SECOND)
            with suppress(queue.Empty):
                chunks = [self._chunks.get(timeout=max(0.0, (until - self._clock.now()) / 1e9))]
            if not chunks:
                self._clock.wait(until)
        return chunks

    def _waiting(self) -> list[Chunk]:
        with suppress(queue.Empty):
            return [self._chunks.get_nowait() for _ in range(self._chunks.qsize())]
        return []

    def _batch(self, chunks: Sequence[Chunk]) -> Batch:
        batches, at = [], self._lines.at
        for chunk in chunks:
            self._done = not chunk.data
            lines = self._lines.finish() if self._done else self._lines.feed(chunk.data)
            batches.append(self._readings.batch(lines, self._base, chunk.arrived))
        own = (self._partition,)
        return replace(
            concat(batches),
            positions={self._partition: self._base + self._lines.at} if self._lines.at > at else {},
            at_end=own if self._chunks.empty() and not self._done else (),
            ended=own if self._done else (),
        )

    def take_bad(self) -> list[Bad]:
        """The newest lines that gave no readings since the last call."""
        return self._readings.take_bad()

    def commit(self, positions: Mapping[str, int]) -> None:
        pass

    @property
    def done(self) -> bool:
        return self._done

    def close(self) -> None:
        self._done = True
        self._stop.set()
        self._thread.join(timeout=4 * STOP_S)
