"""heed's own recordings: every reading in Parquet, and of every turn what a run depended on."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors import cells
from connectors.batch import Batch, PartitionTable, StreamTable, empty
from connectors.clock import Clock
from connectors.columnfile import ColumnFile, texts
from connectors.slots import Numbers, Slots, Stream
from connectors.source import SourceError
from connectors.tablefile import named_errors

VERSION = 1
KEY = b"heed"  # of the Parquet file's metadata
ROWS_A_GROUP, TURNS_A_BLOCK = 50_000, 10_000

TIME, NAME = pa.timestamp("ns", "UTC"), pa.dictionary(pa.int32(), pa.string())
COLUMNS: dict[str, pa.DataType] = {
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
    costs: list[float]  # seconds of each chunk that was scored


class Heading(msgspec.Struct):
    """What stands in the metadata, as JSON."""

    version: int
    config: str
    model: str
    refused: int  # readings of refused streams
    partitions: list[str]
    streams: list[Stream]  # in the order of first appearance
    turns: list[str]  # blocks of turns: MessagePack, zlib, base64


class _Rows(NamedTuple):
    """The kept readings of one turn."""

    batch: Batch
    number: np.typing.NDArray[np.int32]  # of the stream, as in Heading.streams
    turn: int


class RecordingWriter:
    """Writes a recording, called ``<name>.part`` until it is closed. Raises SinkError where the disk says no."""

    def __init__(self, path: str | Path, config: str = "", model: str = "") -> None:
        self._file = ColumnFile(path, COLUMNS)
        self._heading = Heading(VERSION, config, model, 0, [], [], [])
        self._numbers: Numbers | None = None
        self._turns: list[Turn] = []
        self._rows: list[_Rows] = []
        self._buffered = self._number = 0

    def turn(self, now: int, batch: Batch, table: StreamTable, partitions: PartitionTable) -> None:
        """Keep a turn and its readings; call it before the monitor sees the batch."""
        if self._buffered >= ROWS_A_GROUP or len(self._turns) >= TURNS_A_BLOCK:
            self.flush()
        number, told = self._number_streams(batch, table)
        kept = number >= 0
        refused = len(batch) - int(kept.sum())
        counts = {**batch.counts, **({"refused": refused} if refused else {})}
        if refused:
            batch, number = _without(batch, kept), number[kept]
        new = len(self._heading.streams) - told
        self._turns.append(
            Turn(now, len(batch), new, batch.at_end, batch.ended, dict(batch.positions), counts, [])
        )
        if len(batch):
            self._rows.append(_Rows(batch, number, self._number))
        self._heading.refused += refused
        self._heading.partitions = partitions.names
        self._buffered += len(batch)
        self._number += 1

    def _number_streams(self, batch: Batch, table: StreamTable) -> tuple[np.typing.NDArray[np.int32], int]:
        if self._numbers is None:
            self._numbers = Numbers(table)
        told = len(self._numbers.streams)
        number = self._numbers.of(batch.stream)
        self._heading.streams = self._numbers.streams
        return number, told

    def cost(self, seconds: float) -> None:
        """A chunk that was scored in the latest turn cost so much."""
        if self._turns:
            self._turns[-1].costs.append(seconds)

    def flush(self) -> None:
        """Write what is buffered, whole turns only."""
        if self._rows:
            self._file.write(self._columns())
        if self._turns:
            packed = zlib.compress(msgspec.msgpack.encode(self._turns))
            self._heading.turns.append(base64.b64encode(packed).decode())
        self._rows, self._turns, self._buffered = [], [], 0

    def _columns(self) -> dict[str, pa.Array]:
        batches = [rows.batch for rows in self._rows]
        number = np.concatenate([rows.number for rows in self._rows])
        present, index = np.unique(number, return_inverse=True)
        streams = [self._heading.streams[i] for i in present.tolist()]
        turn = np.repeat([rows.turn for rows in self._rows], [len(batch) for batch in batches])
        backlog = [np.zeros(len(b), bool) if b.backlog is None else b.backlog for b in batches]
        return {
            "arrived": pa.array(np.concatenate([b.arrived for b in batches])).cast(TIME),
            "ts": pa.array(np.concatenate([b.ts for b in batches])).cast(TIME),
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
        if not self._file.closed:
            self.flush()
            self._file.close({KEY: msgspec.json.encode(self._heading)})


def _without(batch: Batch, kept: np.typing.NDArray[np.bool_]) -> Batch:
    """The kept readings, with all that the poll says of its partitions."""
    rows = batch.take(kept)
    return Batch(
        rows.stream,
        rows.ts,
        rows.arrived,
        rows.value,
        rows.partition,
        rows.offset,
        batch.positions,
        batch.at_end,
        batch.ended,
        rows.backlog,
        batch.counts,
    )


def heading(path: str | Path) -> Heading | None:
    """What a recording says of itself; None for other files, SourceError for one that can't be read."""
    with named_errors(str(path)), Path(path).open("rb") as file:
        if file.read(4) != b"PAR1":
            return None
        found = (pq.read_metadata(path).metadata or {}).get(KEY)
        return None if found is None else _heading(str(path), found)


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

    What was polled was decided when it was recorded, so ``until`` is not looked at. ``costs`` holds the seconds of
    each chunk that was scored in the turn polled last.
    """

    def __init__(self, path: str | Path, table: StreamTable, partitions: PartitionTable, clock: Clock) -> None:
        found = heading(path)
        if found is None:
            raise SourceError(f"{path}: is no recording of heed's; it has no turns")
        self.heading, self.costs = found, ()
        self._path, self._clock = str(path), clock
        self._slots = Slots(table)
        self._slots.add(found.streams)
        self._partition = np.array([partitions.number(name) for name in found.partitions], np.int32)
        self._turns = _turns(self._path, found.turns)
        self._next = next(self._turns, None)
        self._rows = _RowReader(self._path, found, self._partition)
        self._told = 0
        self._from: dict[int, int] = {}
        self._number_of = partitions.number

    costs: tuple[float, ...]

    def seek(self, positions: Mapping[str, int]) -> None:
        self._from = {self._number_of(name): offset for name, offset in positions.items()}

    def poll(self, until: int) -> Batch:
        turn = self._next
        if turn is None:
            return empty()
        self._clock.wait(turn.now)
        self.costs = tuple(turn.costs)
        batch = self._batch(turn)
        self._next = next(self._turns, None)
        return batch
