"""A recording under way: an Arrow stream of blocks, readable up to the last whole one however its writer ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.recordings.columnfile import Column
from connectors.sink import SinkError

SUFFIX = ".part"
_KEY = b"heed"  # of the metadata: of the stream, and of each block
_MAGIC = b"\xff\xff\xff\xff"  # with which every message of an Arrow stream begins


class PartFile:
    """``<path>.part``; each block is on its way to the disk when ``write`` comes back.

    What a killed run left under that name is moved aside, to ``<path>.1.part`` or a higher number. Raises SinkError,
    naming the file, where the disk says no.
    """

    def __init__(self, path: str | Path, columns: Mapping[str, Any]) -> None:
        self.path = Path(f"{path}{SUFFIX}")
        self._schema = pa.schema(list(columns.items()))
        self._writer: Any = None
        self._closed = False
        with self._errors():
            _move_aside(self.path)
            self._out = pa.OSFile(str(self.path), "wb")

    def begin(self, said: bytes) -> None:
        """``said`` is what holds of the whole stream; before the first block."""
        schema = self._schema.with_metadata({_KEY: said})
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with self._errors():
            self._writer = pa.ipc.new_stream(self._out, schema, options=options)

    @property
    def begun(self) -> bool:
        return self._writer is not None

    def write(self, columns: Mapping[str, Column], said: bytes) -> None:
        """Add a block, of which ``said`` holds."""
        assert self._writer is not None
        rows = pa.record_batch(dict(columns), schema=self._schema)
        with self._errors():
            self._writer.write_batch(rows, custom_metadata={_KEY: said})
            self._out.flush()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return 0 if self._closed else int(self._out.tell())

    def close(self) -> None:
        """End the stream; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with self._errors():
            if self._writer is not None:
                self._writer.close()
            self._out.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise SinkError(f"{self.path}: can't be written: {error}") from error


def _move_aside(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    whole = str(path).removesuffix(SUFFIX)
    free = next(found for n in count(1) if not (found := Path(f"{whole}.{n}{SUFFIX}")).exists())
    path.rename(free)


def is_part(path: str | Path) -> bool:
    """Whether this is a recording under way, or what a killed run left of one."""
    with Path(path).open("rb") as file:
        return file.read(4) == _MAGIC


def blocks(path: str | Path) -> Iterator[tuple[bytes, Any]]:
    """What was said of the stream, and None; then of each whole block, and its rows as a table."""
    with pa.OSFile(str(path), "rb") as file, suppress(pa.ArrowException, OSError):  # cut off before the first block
        reader = pa.ipc.open_stream(file)
        yield (reader.schema.metadata or {}).get(_KEY, b""), None
        yield from _whole(reader)


def _whole(reader: Any) -> Iterator[tuple[bytes, Any]]:
    while True:
        try:
            rows, said = reader.read_next_batch_with_custom_metadata()
        except (StopIteration, pa.ArrowException, OSError):  # the end, or where the writer was cut off
            return
        yield said[_KEY], pa.Table.from_batches([rows])
