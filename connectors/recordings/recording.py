"""heed's own recordings: every reading in Parquet, and of every turn what a run depended on."""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.batch import Batch, Ints, PartitionTable, StreamTable, empty
from connectors.clock import Clock
from connectors.recordings import cells
from connectors.recordings.columnfile import NAME, TIME, Column, ColumnFile, texts, times
from connectors.recordings.partfile import PartFile, blocks, is_part
from connectors.recordings.tablefile import named_errors
from connectors.slots import Numbers, Slots, Stream
from connectors.source import SourceError

VERSION = 1
KEY = "heed"  # of the Parquet file's metadata
ROWS_A_GROUP, TURNS_A_BLOCK = 50_000, 10_000
FLUSH = 5_000_000_000  # ns: at most so much is lost where the writer is killed
COLUMNS = {
    "arrived": TIME,
    "ts": TIME,
    "stream": NAME,
    "group": NAME,
    "value": pa.float64(),
    "partition": NAME,
    "offset": pa.int64(),
    "turn": pa.int32(),
    "backlog": pa.bool_(),
}


class Turn(msgspec.Struct, array_like=True):
    """What a turn of the loop depended on besides its readings; partitions by their numbers in the recording."""

    now: int  # ns
    rows: int
    streams: int  # new ones, given slots in this turn
    at_end: tuple[int, ...]
    ended: tuple[int, ...]
    positions: dict[int, int]
    counts: dict[str, int]
    times: list[int]  # ns after ``now``: each time the clock was read before the next turn
    held: tuple[int, ...] = ()


class Heading(msgspec.Struct):
    """What stands in the metadata, as JSON."""

    version: int
    config: str
    model: str
    refused: int  # readings of refused streams
    partitions: list[str]
    streams: list[Stream]  # in the order of first appearance
    turns: list[str]  # blocks of turns: MessagePack, zlib, base64
    judge_from: int = 0  # event time before which the run only learned, ns
    cost: tuple[float, float] = (0.0, 0.0)  # seconds a call of the model was thought to cost at first, and a stream


class Block(msgspec.Struct):
    """What came with one block of a recording under way."""

    streams: list[Stream]  # new ones
    partitions: list[str]  # new ones
    refused: int
    turns: str


class _Rows(NamedTuple):
    """The kept readings of one turn."""

    batch: Batch
    number: Ints  # of the stream, as in Heading.streams
    turn: int


class RecordingWriter:
    """Writes a recording, as ``<name>.part`` until it is closed. Raises SinkError where the disk says no."""

    def __init__(self, path: str | Path, config: str = "", model: str = "", judge_from: int = 0) -> None:
        self._path, self._part = Path(path), PartFile(path, COLUMNS)
        self._heading = Heading(VERSION, config, model, 0, [], [], [], judge_from)
        self._numbers: Numbers | None = None
        self._turns: list[Turn] = []
        self._rows: list[_Rows] = []
        self._buffered = self._turn = self._flushed = self.readings = 0
        self._told = Block([], [], 0, "")  # what the blocks so far hold
        self.closed = False

    @property
    def size(self) -> int:
        """Bytes on disk so far."""
        return self._part.size

    def turn(self, now: int, batch: Batch, table: StreamTable, partitions: PartitionTable) -> bool:
        """Keep a turn and its readings, before the monitor sees them. True where all turns before it are on disk."""
        full = self._buffered >= ROWS_A_GROUP or len(self._turns) >= TURNS_A_BLOCK or now - self._flushed >= FLUSH
        if full:
            self.flush()
            self._flushed = now
        told = len(self._heading.streams)
        number = self._number(batch, table)
        kept = np.flatnonzero(number >= 0)
        if refused := len(batch) - len(kept):
            self._heading.refused += refused
            batch = replace(batch, counts={**batch.counts, "refused": refused})
        self._heading.partitions = partitions.names
        self._turns.append(_turn(now, batch, len(kept), len(self._heading.streams) - told))
        self._rows.append(_Rows(batch.take(kept) if refused else batch, number[kept], self._turn))
        self._buffered += len(kept)
        self.readings += len(kept)
        self._turn += 1
        return full

    def _number(self, batch: Batch, table: StreamTable) -> Ints:
        if self._numbers is None:
            self._numbers = Numbers(table)
            self._heading.streams = self._numbers.streams
        return self._numbers.of(batch.stream)

    def time(self, now: int) -> None:
        """The clock was read in the latest turn and showed ``now`` (ns)."""
        if self._turns:
            self._turns[-1].times.append(now - self._turns[-1].now)

    def cost(self, cost: tuple[float, float]) -> None:
        """What the model was thought to cost before anything was measured: seconds a call, and a stream."""
        self._heading.cost = cost

    def flush(self) -> None:
        """Write what is buffered, whole turns only."""
        if not self._part.begun:
            self._part.begin(msgspec.json.encode(msgspec.structs.replace(self._heading, streams=[], partitions=[])))
        if self._turns:
            self._part.write(self._columns(), msgspec.json.encode(self._block()))
        self._rows, self._turns, self._buffered = [], [], 0

    def _block(self) -> Block:
        told, head = self._told, self._heading
        streams, partitions = head.streams[len(told.streams) :], head.partitions[len(told.partitions) :]
        found = Block(streams, partitions, head.refused - told.refused, _packed(self._turns))
        self._told = Block(list(head.streams), list(head.partitions), head.refused, "")
        return found

    def _columns(self) -> dict[str, Column]:
        batches = [rows.batch for rows in self._rows]
        number = np.concatenate([rows.number for rows in self._rows])
        present, index = np.unique(number, return_inverse=True)
        streams = [self._heading.streams[i] for i in present.tolist()]
        turn = np.repeat([rows.turn for rows in self._rows], [len(batch) for batch in batches])
        backlog = [np.zeros(len(b), bool) if b.backlog is None else b.backlog for b in batches]
        return {
            "arrived": times(np.concatenate([b.arrived for b in batches])),
            "ts": times(np.concatenate([b.ts for b in batches])),
            "stream": texts(index, [stream.name for stream in streams]),
            "group": texts(index, [stream.group for stream in streams]),
            "value": pa.array(np.concatenate([b.value for b in batches])),
            "partition": texts(np.concatenate([b.partition for b in batches]), self._heading.partitions),
            "offset": pa.array(np.concatenate([b.offset for b in batches])),
            "turn": pa.array(turn.astype(np.int32)),
            "backlog": pa.array(np.concatenate(backlog)),
        }

    def close(self) -> None:
        """Write the rest and give the file its name; safe to call twice."""
        if not self.closed:
            self.closed = True
            self.flush()
            self._part.close()
            finish(self._part.path, self._path)
            self._part.path.unlink()


def finish(part: Path, path: Path) -> None:
    """Make a recording of what its blocks hold. Raises SinkError, SourceError."""
    head = heading(part)
    assert head is not None
    file = ColumnFile(path, COLUMNS, ".whole")
    group: list[Column] = []
    for rows in _blocks_of(part):
        group.append(rows)
        if sum(map(len, group)) >= ROWS_A_GROUP:
            file.write_tables(group)
            group = []
    file.write_tables(group)
    turns = list(_turns(str(part), head.turns))
    head.turns = [_packed(turns[at : at + TURNS_A_BLOCK]) for at in range(0, len(turns), TURNS_A_BLOCK)]
    file.close({KEY: msgspec.json.encode(head).decode()})


def _packed(turns: Sequence[Turn]) -> str:
    return base64.b64encode(zlib.compress(msgspec.msgpack.encode(turns))).decode()


def _blocks_of(part: str | Path) -> Generator[Column, None, None]:
    for _, rows in blocks(part):
        if rows is not None:
            yield rows


def _turn(now: int, batch: Batch, rows: int, streams: int) -> Turn:
    positions, counts = dict(batch.positions), dict(batch.counts)
    return Turn(now, rows, streams, batch.at_end, batch.ended, positions, counts, [], batch.held)


def heading(path: str | Path) -> Heading | None:
    """What a recording says of itself; None for other files, SourceError for one that can't be read."""
    with named_errors(str(path)), Path(path).open("rb") as file:
        if is_part(path):
            return _heading_under_way(str(path))
        if file.read(4) != b"PAR1":
            return None
        found = (pq.read_metadata(path).metadata or {}).get(KEY.encode())
        return None if found is None else _heading(str(path), found)


def _heading_under_way(path: str) -> Heading:
    """Put together of what came with each whole block."""
    found = blocks(path)
    said, _ = next(found, (b"", None))
    head = _heading(path, said)
    for more, _ in found:
        block = msgspec.json.decode(more, type=Block)
        head.streams += block.streams
        head.partitions += block.partitions
        head.refused += block.refused
        head.turns.append(block.turns)
    return head


def _heading(path: str, found: bytes) -> Heading:
    try:
        read = msgspec.json.decode(found, type=Heading)
    except msgspec.MsgspecError as error:
        raise SourceError(f"{path}: its heading can't be read: {error}") from error
    if read.version > VERSION:
        raise SourceError(f"{path}: was recorded by a newer heed (format {read.version}, this one reads {VERSION})")
    return read


def _turns(path: str, blocks: Sequence[str]) -> Iterator[Turn]:
    for block in blocks:
        try:
            yield from msgspec.msgpack.decode(zlib.decompress(base64.b64decode(block)), type=list[Turn])
        except (msgspec.MsgspecError, zlib.error, ValueError) as error:
            raise SourceError(f"{path}: its turns can't be read: {error}") from error


class RecordingSource:
    """Gives a recorded run again turn by turn, and winds the clock to each turn's ``now``.

    What each turn polled was decided when it was recorded, so ``until`` is not looked at. ``times`` holds what the
    clock showed in the turn polled last (ns), for a RecordedClock.
    """

    def __init__(self, path: str | Path, table: StreamTable, partitions: PartitionTable, clock: Clock) -> None:
        found = heading(path)
        if found is None:
            raise SourceError(f"{path}: is no recording of heed's: it has no turns")
        self.heading = found
        self.times: deque[int] = deque()
        self._clock, self._partitions = clock, partitions
        self._slots = Slots(table)
        self._slots.add(found.streams)
        self._told = 0
        self._partition = [partitions.number(name) for name in found.partitions]
        self._turns = _turns(str(path), found.turns)
        self._next = next(self._turns, None)
        self._rows = _RowReader(str(path), found)
        self._start = np.zeros(len(self._partition), np.int64)  # by the recording's own partition numbers

    def seek(self, positions: Mapping[str, int]) -> None:
        self._start = np.array([positions.get(name, 0) for name in self.heading.partitions], np.int64)

    def poll(self, until: int) -> Batch:
        turn = self._next
        if turn is None:
            return empty()
        self._clock.wait(turn.now)
        self.times = deque(turn.now + time for time in turn.times)
        self._slots.look_up(range(self._told, self._told + turn.streams))
        self._told += turn.streams
        batch = self._batch(turn)
        self._next = next(self._turns, None)
        return batch

    def _batch(self, turn: Turn) -> Batch:
        rows = self._rows.take(turn.rows)
        number = self._partition
        batch = replace(
            rows,
            stream=self._slots.of(rows.stream),
            partition=np.array(number, np.int32)[rows.partition],
            positions={number[p]: offset for p, offset in turn.positions.items()},
            at_end=tuple(number[p] for p in turn.at_end),
            ended=tuple(number[p] for p in turn.ended),
            counts=turn.counts,
            held=tuple(number[p] for p in turn.held),
        )
        wanted = rows.offset >= self._start[rows.partition]
        if wanted.all():
            return batch
        kept = batch.take(wanted)
        return replace(
            kept,
            positions=batch.positions,
            at_end=batch.at_end,
            ended=batch.ended,
            counts=batch.counts,
            held=batch.held,
        )

    def commit(self, positions: Mapping[str, int]) -> None:
        pass

    @property
    def done(self) -> bool:
        return self._next is None

    def close(self) -> None:
        self._next = None
        self._rows.close()


class _RowReader:
    """The rows of a recording, one row group in memory at a time; groups hold whole turns."""

    def __init__(self, path: str, heading: Heading) -> None:
        self._path = path
        self._stream_of = {stream.name: number for number, stream in enumerate(heading.streams)}
        self._partition_of = {name: number for number, name in enumerate(heading.partitions)}
        with named_errors(path):
            self._groups = _blocks_of(path) if is_part(path) else _row_groups(path)
        self._rows, self._at = empty(), 0

    def take(self, n: int) -> Batch:
        """The next n rows; streams and partitions by the recording's own numbers."""
        while self._at == len(self._rows) and n:
            self._rows, self._at = self._load(), 0
        rows = self._rows.take(np.arange(self._at, self._at + n))
        self._at += n
        return rows

    def _load(self) -> Batch:
        with named_errors(self._path):
            data = next(self._groups, None)
            if data is None:
                raise SourceError(f"{self._path}: has fewer readings than its turns say")
            backlog = data["backlog"].to_numpy()
            return Batch(
                stream=_coded(data["stream"], self._stream_of),
                ts=data["ts"].cast(pa.int64()).to_numpy(),
                arrived=data["arrived"].cast(pa.int64()).to_numpy(),
                value=data["value"].to_numpy(),
                partition=_coded(data["partition"], self._partition_of),
                offset=data["offset"].to_numpy(),
                backlog=backlog if backlog.any() else None,
            )

    def close(self) -> None:
        self._groups.close()


def _row_groups(path: str) -> Generator[Column, None, None]:
    with pq.ParquetFile(path, read_dictionary=["stream", "group", "partition"]) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def _coded(column: Column, number_of: Mapping[str, int]) -> Ints:
    names, codes = cells.names(column)
    return np.array([number_of[name] for name in names], np.int32)[codes]
