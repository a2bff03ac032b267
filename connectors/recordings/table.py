"""Files of recorded readings as columns: CSV, JSON lines or Parquet, long or wide, plain or compressed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.batch import Floats, Ints, Times
from connectors.recordings import cells
from connectors.recordings.tablefile import Opened, named_errors, open_file
from connectors.source import SourceError

STEP_SHARE = 0.3  # of the differences of neighbouring times must be the same one for it to be the step
NOT_STREAMS = ("label", "phase")

Bools = npt.NDArray[np.bool_]


class Labelled(NamedTuple):
    """A stretch that somebody labelled: of a stream (long) or a group (wide); both ends inclusive, ns."""

    name: str
    start: int
    end: int


class Raster(NamedTuple):
    """The step (ns, 0 = irregular) of readings, and where it starts (ns, less than a step)."""

    step: int
    origin: int


@dataclass(frozen=True, slots=True)
class Table:
    """The readings of one file: n of them from k streams, in the order of the file.

    ``streams``, ``groups`` and ``rasters`` have length k, all arrays length n. ``arrived`` is None where the file
    does not tell. ``row`` is the row of the file (readings of a wide row share it). ``counts`` tells what was left
    out and why, ``notes`` what a person may want to know.
    """

    path: str
    streams: list[str]
    groups: list[str]
    rasters: list[Raster]
    stream: Ints
    ts: Times
    arrived: Times | None
    value: Floats
    row: Times
    rows: int
    labelled: tuple[Labelled, ...] = ()
    scored_from: int | None = None  # ns; where a `phase` column turns from 0 (warm-up) to 1
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ts)


def read(path: str | Path) -> Table:
    """All readings of a file; raises SourceError, naming the file, where there are none to be had.

    A wide file (a time column, numeric columns) is one group named after the file's stem, with streams
    ``<stem>/<column>``; an empty cell is no reading. A long one has columns ``stream`` and ``value``, maybe
    ``group`` (else what stands before the stream's last ``/``, else the stem), ``arrived`` and ``label``; there an
    empty value is a reading that says so (NaN). Infinite values count as missing; rows without a time or a stream
    are left out; both are counted.
    """
    path = str(path)
    with named_errors(path):
        rows = _rows(path, open_file(path))
        table = _long(rows) if _is_long(rows.data) else _wide(rows)
    if not len(table):
        raise SourceError(f"{path}: has no readings ({table.counts or 'every cell is empty'})")
    return table


def first_arrival(path: str | Path) -> int:
    """When (ns) the first reading of a file arrived, judged by its first megabyte."""
    path = str(path)
    with named_errors(path):
        rows = _rows(path, open_file(path, head=True))
    return int((rows.ts if rows.arrived is None else rows.arrived)[0])


def stem(path: str) -> str:
    """A file's name without folder, kind and compression."""
    name = Path(path).name
    for ending in (".gz", ".zst", ".zstd"):
        name = name.removesuffix(ending)
    return Path(name).stem or name


@dataclass(slots=True)
class _Rows:
    """The rows of a file that have a time: ``kept`` of them, by their numbers."""

    path: str
    data: pa.Table
    columns: list[str]  # those that are neither time, arrival, label nor phase
    kept: npt.NDArray[np.intp]
    ts: Times  # [kept]
    arrived: Times | None  # [kept]
    counts: dict[str, int]
    notes: list[str]

    def count(self, reason: str, n: int) -> None:
        """Count what is left out."""
        if n:
            self.counts[reason] = self.counts.get(reason, 0) + n

    def numbers(self, name: str) -> Floats | None:
        """A numeric column, [kept], NaN where missing; cells that are no numbers are counted."""
        found = cells.numbers(self.data[name])
        if found is None:
            return None
        self.count("not_a_number", found.bad)
        return found.value[self.kept]

    def flags(self, name: str) -> Bools | None:
        """Where a `label` or `phase` column is set, [kept]."""
        found = cells.numbers(self.data[name]) if name in self.data.column_names else None
        return None if found is None else np.nan_to_num(found.value[self.kept]) != 0


def _is_long(data: pa.Table) -> bool:
    return {"stream", "value"} <= set(data.column_names)


def _rows(path: str, opened: Opened) -> _Rows:
    data = opened.table
    if not data.num_rows:
        raise SourceError(f"{path}: has no rows")
    others = {*NOT_STREAMS, "arrived", *(("stream", "value", "group") if _is_long(data) else ())}
    columns = [name for name in data.column_names if name not in others]
    time, (ts, valid) = _time_column(path, data, columns)
    kept = np.flatnonzero(valid)
    rows = _Rows(path, data, [c for c in columns if c != time], kept, ts[kept], None, opened.counts, opened.notes)
    rows.count("no_time", len(ts) - len(kept))
    if "arrived" in data.column_names and (found := cells.times(data["arrived"], "ts")) is not None:
        rows.arrived = np.where(found.valid, found.ts, ts)[kept]
    return rows


def _time_column(path: str, data: pa.Table, columns: list[str]) -> tuple[str, cells.Stamps]:
    """The first time-like column; one with a telling name goes before all others."""
    for name in sorted(columns, key=lambda name: name.lower() not in cells.TIME_NAMES):
        found = cells.times(data[name], name)
        if found is not None and found.valid.any():
            return name, found
    raise SourceError(f"{path}: has no time column among {', '.join(columns[:8]) or 'none'}")


def _wide(rows: _Rows) -> Table:
    names, matrix = _matrix(rows)
    rows.count("not_finite", int(np.isinf(matrix).sum()))
    there = np.flatnonzero(np.isfinite(matrix).ravel())
    row = there // len(names)
    column = there - row * len(names)
    group, labels, phase = stem(rows.path), rows.flags("label"), rows.flags("phase")
    return Table(
        rows.path,
        streams=[f"{group}/{name}" for name in names],
        groups=[group] * len(names),
        rasters=[_raster(rows.ts)] * len(names),
        stream=column.astype(np.int32),
        ts=rows.ts[row],
        arrived=None if rows.arrived is None else rows.arrived[row],
        value=matrix.ravel()[there],
        row=rows.kept[row],
        rows=rows.data.num_rows,
        labelled=() if labels is None else tuple(_stretches(group, rows.ts, labels)),
        scored_from=None if phase is None or not phase.any() else int(rows.ts[phase.argmax()]),
        counts=rows.counts,
        notes=tuple(rows.notes),
    )


def _matrix(rows: _Rows) -> tuple[list[str], Floats]:
    """The numeric columns, [kept, k]; the others are noted."""
    found = {name: rows.numbers(name) for name in rows.columns}
    columns = {name: column for name, column in found.items() if column is not None}
    if len(columns) < len(found):
        rows.notes.append(f"not numeric, ignored: {', '.join(n for n in found if n not in columns)}")
    if not columns:
        raise SourceError(f"{rows.path}: has no numeric column")
    return list(columns), np.column_stack(list(columns.values()))


def _long(rows: _Rows) -> Table:
    value = rows.numbers("value")
    if value is None:
        raise SourceError(f"{rows.path}: its column 'value' is not numeric")
    streams, codes = cells.names(rows.data["stream"])
    stream = codes[rows.kept]
    rows.count("no_stream", int((stream < 0).sum()))
    rows.count("not_finite", int(np.isinf(value).sum()))
    value = np.where(np.isinf(value), np.nan, value)
    there = np.flatnonzero(stream >= 0)
    stream, ts, labels = stream[there], rows.ts[there], rows.flags("label")
    order = np.argsort(stream, kind="stable")
    return Table(
        rows.path,
        streams=streams,
        groups=_groups(rows, streams, codes),
        rasters=_rasters(stream[order], ts[order], len(streams)),
        stream=stream,
        ts=ts,
        arrived=None if rows.arrived is None else rows.arrived[there],
        value=value[there],
        row=rows.kept[there],
        rows=rows.data.num_rows,
        labelled=() if labels is None else _stretches_of(streams, stream[order], ts[order], labels[there][order]),
        counts=rows.counts,
        notes=tuple(rows.notes),
    )


def _groups(rows: _Rows, streams: list[str], codes: Ints) -> list[str]:
    """The group of each stream: as its first row says, or by the stream's name."""
    default = stem(rows.path)
    groups = [name.rpartition("/")[0] or default for name in streams]
    if "group" in rows.data.column_names:
        said, group = cells.names(rows.data["group"])
        found, first = np.unique(codes, return_index=True)
        for stream, code in zip(found.tolist(), group[first].tolist(), strict=True):
            if stream >= 0 and code >= 0:
                groups[stream] = said[code]
    return groups


def _raster(ts: Times) -> Raster:
    """The most common difference of neighbouring distinct times, where it is common enough."""
    return _rasters(np.zeros(len(ts), np.int32), ts, 1)[0]


def _rasters(stream: Ints, ts: Times, n: int) -> list[Raster]:
    """The raster of each of n streams, from its readings' times; ``stream`` ascending."""
    first = ts[np.searchsorted(stream, np.arange(n))] if len(ts) else np.zeros(n, np.int64)
    if not _ascending(stream, ts):
        order = np.lexsort((ts, stream))
        stream, ts = stream[order], ts[order]
    gap = np.diff(ts)
    same = (stream[1:] == stream[:-1]) & (gap > 0)
    step = _commonest(stream[1:][same], gap[same], n)
    origin = np.where(step > 0, first % np.maximum(step, 1), 0)
    return [Raster(s, o) for s, o in zip(step.tolist(), origin.tolist(), strict=True)]


def _ascending(stream: Ints, ts: Times) -> bool:
    return bool(np.all((ts[1:] >= ts[:-1]) | (stream[1:] > stream[:-1])))


def _commonest(stream: Ints, gap: Times, n: int) -> Times:
    """Each stream's most common gap (the shortest of equals), 0 where it is not STEP_SHARE of them."""
    step = np.zeros(n, np.int64)
    if not len(gap):
        return step
    order = np.lexsort((gap, stream))
    stream, gap = stream[order], gap[order]
    starts = np.flatnonzero(np.r_[True, (stream[1:] != stream[:-1]) | (gap[1:] != gap[:-1])])
    times = np.diff(np.r_[starts, len(gap)])
    enough = times >= STEP_SHARE * np.bincount(stream, minlength=n)[stream[starts]]
    starts, times = starts[enough], times[enough]
    best = np.lexsort((-gap[starts], times, stream[starts]))  # the last of a stream is its most common
    step[stream[starts][best]] = gap[starts][best]
    return step


def _stretches(name: str, ts: Times, labels: Bools) -> list[Labelled]:
    """Runs of labelled rows."""
    edges = np.flatnonzero(np.diff(np.r_[False, labels, False]))
    return [Labelled(name, int(ts[a]), int(ts[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _stretches_of(streams: list[str], stream: Ints, ts: Times, labels: Bools) -> tuple[Labelled, ...]:
    """Runs of labelled readings within each stream; ``stream`` ascending."""
    found: list[Labelled] = []
    for code in np.unique(stream[labels]).tolist():
        own = slice(np.searchsorted(stream, code), np.searchsorted(stream, code, "right"))
        found += _stretches(streams[code], ts[own], labels[own])
    return tuple(found)
