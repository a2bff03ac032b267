"""Opens a file of readings as an Arrow table: CSV, JSON lines or Parquet, plain, gzip or zstd."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from connectors.source import SourceError

MAGIC: dict[bytes, Literal["gzip", "zstd"]] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
PARQUET = b"PAR1"
BLOCK_BYTES = 16 << 20  # the longest line that is read
HEAD_BYTES, HEAD_ROWS = 1 << 20, 4096  # what a peek looks at
NULLS = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "none"]
CELL = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?|\d{4}-\d\d-\d\d.*|nan|NaN")


@dataclass(slots=True)
class Opened:
    """An Arrow table of a file, and what was noticed while reading it."""

    table: pa.Table
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Turn whatever Arrow, the disk or a decompressor says into a SourceError that names the file."""
    try:
        yield
    except SourceError:
        raise
    except (pa.ArrowException, OSError, ValueError, csv.Error, RecursionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"{path}: can't be read: {reason}") from error


def open_file(path: str, head: bool = False) -> Opened:
    """All columns of a file, or of about its first megabyte; text columns of CSV stay text.

    Raises SourceError, naming the file, where it is missing, empty, cut short or of no known kind.
    """
    with named_errors(path):
        start = _start(path)
        if start.startswith(PARQUET):
            return Opened(_parquet(path, head))
        return _text(path, _unpacked(path, start, head), whole=not head)


def _start(path: str) -> bytes:
    if Path(path).is_dir():
        raise SourceError(f"{path}: is a folder; name the files in it")
    with Path(path).open("rb") as file:
        start = file.read(4)
    if not start:
        raise SourceError(f"{path}: is empty")
    return start


def _parquet(path: str, head: bool) -> pa.Table:
    schema = pq.read_schema(path)
    names = schema.names
    _no_twins(path, names)
    with pq.ParquetFile(path, read_dictionary=[n for n in ("stream", "group") if n in names]) as file:
        if head:
            return pa.Table.from_batches(islice(file.iter_batches(HEAD_ROWS, columns=_dated(schema)), 1))
        return file.read()


def _is_date(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _dated(schema: pa.Schema) -> list[str] | None:
    """The columns that tell when readings arrived; None (all of them) where no column's type says time."""
    dated = [field.name for field in schema if _is_date(field.type)]
    return (
        [*dated, *(n for n in ("arrived", "stream", "value") if n in set(schema.names) - set(dated))] if dated else None
    )


def _unpacked(path: str, start: bytes, head: bool) -> bytes:
    packed = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)
    with pa.OSFile(path, "rb") as raw, pa.CompressedInputStream(raw, packed) if packed else raw as file:
        data = bytes(file.read(HEAD_BYTES) if head else file.read())
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16").encode()
    if head and len(data) == HEAD_BYTES and b"\n" in data:
        data = data[: data.rindex(b"\n") + 1]
    return data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")


def _text(path: str, data: bytes, whole: bool) -> Opened:
    if not data.strip():
        raise SourceError(f"{path}: is empty")
    if b"\0" in data[:4096]:
        raise SourceError(f"{path}: is neither text nor Parquet")
    if len(data.split(b"\n", 1)[0]) > BLOCK_BYTES:
        raise SourceError(f"{path}: its first line is longer than {BLOCK_BYTES >> 20} MiB")
    if data.lstrip()[:1] in (b"{", b"["):
        return _json(path, data, whole)
    return _csv(path, data)


def _json(path: str, data: bytes, whole: bool) -> Opened:
    if data.lstrip()[:1] == b"{":
        options = pajson.ReadOptions(block_size=BLOCK_BYTES)
        try:
            table = pajson.read_json(BytesIO(data), read_options=options)
            _no_twins(path, table.column_names)
            return Opened(table)
        except pa.ArrowInvalid:
            pass  # one odd line is no reason to give the file up: read line by line, slower
    return _json_by_line(data, whole)


def _json_by_line(data: bytes, whole: bool) -> Opened:
    rows: list[object]
    if data.lstrip()[:1] == b"[" and whole:
        rows = json.loads(data)
    else:
        rows = [_json_line(line) for line in data.splitlines() if line.strip()]
    good = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in good for name in row))
    table = pa.table({name: _mixed([row.get(name) for row in good]) for name in names})
    return Opened(table, {"undecodable": len(rows) - len(good)} if len(good) < len(rows) else {})


def _json_line(line: bytes) -> object:
    try:
        return json.loads(line.strip().strip(b"[],"))
    except ValueError:
        return None


def _mixed(cells: list[object]) -> Any:
    try:
        return pa.array(cells, from_pandas=False)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if cell is None else str(cell) for cell in cells])


def _csv(path: str, data: bytes) -> Opened:
    try:
        return _csv_as(path, data, "utf8")
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if isinstance(error, pa.ArrowInvalid) and "UTF8" not in str(error):
            raise
    opened = _csv_as(path, data, "latin-1")
    opened.notes.append("not UTF-8: read as Latin-1")
    return opened


def _csv_as(path: str, data: bytes, encoding: str) -> Opened:
    first = data.split(b"\n", 1)[0].decode(encoding).rstrip("\r")
    delimiter = max(",;\t|", key=first.count)
    names, skip = _header(next(csv.reader([first], delimiter=delimiter)))
    _no_twins(path, names)
    bad = _BadRows()
    table = pacsv.read_csv(
        BytesIO(data),
        pacsv.ReadOptions(column_names=names, skip_rows=skip, encoding=encoding, block_size=BLOCK_BYTES),
        pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=bad.skip, newlines_in_values=b'"' in data),
        pacsv.ConvertOptions(
            column_types={name: pa.string() for name in names}, null_values=NULLS, strings_can_be_null=True
        ),
    )
    return Opened(table, {"undecodable": bad.rows} if bad.rows else {})


def _header(cells: list[str]) -> tuple[list[str], int]:
    """Column names, and how many lines they take; a first line of nothing but data means there is no header."""
    names = [cell.strip() for cell in cells]
    if all(CELL.fullmatch(name) for name in names):
        many = [f"c{i}" for i in range(1, len(names))]
        return ["timestamp", *(["value"] if len(many) == 1 else many)], 0
    return [name or f"c{i}" for i, name in enumerate(names)], 1


class _BadRows:
    """Counts the rows that have too many or too few cells, and passes over them."""

    def __init__(self) -> None:
        self.rows = 0

    def skip(self, row: pacsv.InvalidRow) -> Literal["skip"]:
        self.rows += 1
        return "skip"


def _no_twins(path: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twins:
        raise SourceError(f"{path}: has more than one column named {twins[0]!r}")
