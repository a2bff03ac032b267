"""Columns of cells as times and numbers: what is time-like, what is numeric, and what is neither."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.batch import Floats, Times

Bools = npt.NDArray[np.bool_]
Column = Any  # pa.ChunkedArray: its stubs lose track of what compute functions return

TIME_NAMES = frozenset(
    ("ts", "t", "time", "timestamp", "@timestamp", "time_stamp", "datetime", "date_time", "date", "event_time")
)
# The widest magnitude a count since the epoch may have to be read in this unit (about the year 2255), and ns per unit.
UNITS = ((9e9, 1_000_000_000), (9e12, 1_000_000), (9e15, 1_000), (math.inf, 1))
EPOCH_SECONDS = (3.2e8, 4.1e9)  # 1980 to 2100: what a whole number without a telling name must lie in
ISO = r"^\d{4}[-/]\d\d[-/]\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)? ?(Z|[+-]\d\d(:?\d\d)?)?$"
NUMBER = r"^\s*[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|[iI]nf(inity)?)\s*$"
TRUTH = ["true", "false", "True", "False", "TRUE", "FALSE"]


class Stamps(NamedTuple):
    """A column of times: int64 ns, and which of them are times at all."""

    ts: Times
    valid: Bools


def times(column: Column, name: str) -> Stamps | None:
    """A time-like column as ns since the epoch, or None. Text without a zone is UTC.

    Whole numbers are s, ms, us or ns by their magnitude; without a telling name they must lie in 1980..2100 and rise.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _stamps(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_times(column, name)
    if pa.types.is_integer(kind) or (pa.types.is_floating(kind) and name.lower() in TIME_NAMES):
        return _counted(column, name)
    return None


def _stamps(column: Column) -> Stamps:
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    counted = column.cast(pa.timestamp("ns", zone)).cast(pa.int64())
    return Stamps(counted.fill_null(0).to_numpy(), column.is_valid().to_numpy())


def _text_times(column: Column, name: str) -> Stamps | None:
    text = pc.utf8_trim_whitespace(column)
    iso = _matches(text, ISO)
    there = len(column) - column.null_count
    if there and _total(iso) * 2 >= there:
        return _iso(pc.if_else(iso, text, pa.scalar(None, text.type)))
    for kind in (pa.int64(), pa.float64()):
        try:
            return times(text.cast(kind), name)
        except pa.ArrowInvalid:
            continue
    return None


def _iso(text: Column) -> Stamps:
    text = pc.replace_substring_regex(text, r"^(\d{4})/(\d\d)/", r"\1-\2-")
    text = pc.replace_substring_regex(text, r"^(\d{4}-\d\d-\d\d)( ?Z)?$", r"\1T00:00")
    text = pc.replace_substring_regex(text, r" (Z|[+-]\d\d:?\d\d)$", r"\1")
    text = pc.replace_substring_regex(text, r"([T ]\d\d:\d\d(:\d\d)?(\.\d+)?)$", r"\1Z")
    try:
        return _stamps(text.cast(pa.timestamp("ns", "UTC")))
    except pa.ArrowInvalid:  # some cell looks like a time and is none (the 30th of February): one by one
        ns = [_iso_cell(cell) for cell in text.to_pylist()]
        return Stamps(np.array([n or 0 for n in ns], np.int64), np.array([n is not None for n in ns]))


def _iso_cell(cell: str | None) -> int | None:
    try:
        time = datetime.fromisoformat(cell or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return round(time.timestamp() * 1e6) * 1000 if 1678 < time.year < 2262 else None


def _counted(column: Column, name: str) -> Stamps | None:
    whole = pa.types.is_integer(column.type)
    counts = column.cast(pa.int64() if whole else pa.float64(), safe=False)
    raw = counts.fill_null(0).to_numpy()
    valid = counts.is_valid().to_numpy() & np.isfinite(raw)
    if not valid.any() or not (name.lower() in TIME_NAMES or _epochs(raw[valid])):
        return None
    limit, unit = next(u for u in UNITS if float(np.median(np.abs(raw[valid]))) < u[0])
    valid &= np.abs(raw.astype(np.float64)) < limit
    raw = np.where(valid, raw, 0)
    if whole:
        return Stamps(raw * unit, valid)
    # Floats are rounded to 1/1000 of their unit (or 1 ns), or a raster of tenths would look irregular.
    fine = min(unit, 1000)
    return Stamps(np.round(raw * fine).astype(np.int64) * (unit // fine), valid)


def _epochs(raw: npt.NDArray[np.generic]) -> bool:
    counts = raw.astype(np.float64)
    middle = float(np.median(counts))
    low, high = EPOCH_SECONDS
    dated = any(low * scale <= middle <= high * scale for scale in (1, 1e3, 1e6, 1e9))
    rises = int((np.diff(counts) >= 0).sum()) >= 0.9 * (len(counts) - 1)
    return dated and rises and bool(counts[-1] >= counts[0])


class Numbers(NamedTuple):
    """A numeric column: float64, NaN where missing; and how many cells were no numbers."""

    value: Floats
    bad: int


def numbers(column: Column) -> Numbers | None:
    """A numeric column, or None. Booleans are 0 and 1; text counts where at least half of its cells are numbers."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_null(kind):
        return Numbers(np.full(len(column), np.nan), 0)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_numbers(column)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    return Numbers(column.cast(pa.float64(), safe=False).to_numpy(), 0)


def _text_numbers(column: Column) -> Numbers | None:
    try:
        return Numbers(column.cast(pa.float64()).to_numpy(), 0)
    except pa.ArrowInvalid:
        pass
    there = len(column) - column.null_count
    if _total(pc.is_in(column, pa.array(TRUTH, column.type))) == there:
        lower = pc.utf8_lower(column)
        return Numbers(pc.equal(lower, pa.scalar("true", column.type)).cast(pa.float64()).to_numpy(), 0)
    good = _matches(column, NUMBER)
    kept = _total(good)
    if kept * 2 < there:
        return None
    text = pc.utf8_trim_whitespace(pc.if_else(good, column, pa.scalar(None, column.type)))
    text = pc.replace_substring_regex(text, r"^\+", "")
    return Numbers(text.cast(pa.float64()).to_numpy(), there - kept)


def _matches(text: Column, pattern: str) -> Column:
    found: Column = pc.match_substring_regex(text, pattern)
    return found.fill_null(False)


def _total(flags: Column) -> int:
    return int(pc.sum(flags).as_py() or 0)


def names(column: Column) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Distinct texts in the order of first appearance, and which of them each row holds (-1 = none)."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    whole: Column = column.unify_dictionaries().combine_chunks()
    array: Column = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return _by_appearance([str(name) for name in array.dictionary.to_pylist()], codes)


def _by_appearance(texts: list[str], codes: npt.NDArray[np.int32]) -> tuple[list[str], npt.NDArray[np.int32]]:
    found, first = np.unique(codes, return_index=True)
    order = found[np.argsort(first)]
    order = order[order >= 0]
    new = np.full(len(texts) + 1, -1, np.int32)  # the last entry takes the rows that hold none
    new[order] = np.arange(len(order), dtype=np.int32)
    return [texts[i] for i in order.tolist()], new[codes]
