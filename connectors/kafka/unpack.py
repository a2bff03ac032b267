"""Kafka record batches to columns, all records at once: the one thing that kafka-python does too slowly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Times
from connectors.kafka.columns import Bytes, Columns, Late

_PAD = bytes(16)  # behind the last record: more than a varint can run over its end
_LAST_SHIFT = 56  # of a varint with 63 bits; longer ones are left to the stock client
_APPEND_TIME = 1
_LEAST = 6  # bytes of a record behind its length
_ZEROS = 4  # a record of text has two or three
_SHORT = 512  # bytes a record up to which it pays to look at all of them at once

Ints = npt.NDArray[np.int64]


class Surprise(Exception):
    """Bytes that are no plain records: the stock client has to say what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Pieces of ``blob``, a row each; where ``end`` lies before ``start`` there is none (null)."""

    blob: bytes
    start: Ints
    end: Ints

    def __getitem__(self, rows: slice | Ints) -> Spans:
        return Spans(self.blob, self.start[rows], self.end[rows])

    def cut(self) -> list[Bytes]:
        """The pieces themselves."""
        blob, starts, ends = self.blob, self.start.tolist(), self.end.tolist()
        found: list[Bytes] = [blob[start:end] for start, end in zip(starts, ends, strict=True)]
        for row in np.flatnonzero(self.end < self.start).tolist():
            found[row] = None
        return found


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Records of several batches, still as places in their bytes."""

    offset: Times
    written: Times  # ms
    key: Spans
    value: Spans
    header_row: Ints  # of each header, rising
    header_key: Spans
    header_value: Spans

    def __len__(self) -> int:
        return len(self.offset)

    def part(self, first: int, stop: int) -> Unpacked:
        """Rows ``first`` up to ``stop``."""
        rows, (low, high) = slice(first, stop), np.searchsorted(self.header_row, (first, stop))
        inside = slice(int(low), int(high))
        row = self.header_row[inside] - first
        keys, values = self.header_key[inside], self.header_value[inside]
        return Unpacked(self.offset[rows], self.written[rows], self.key[rows], self.value[rows], row, keys, values)

    def columns(self) -> Columns:
        """The same with the values cut out; keys and headers when asked for."""
        n = len(self)
        return Columns(self.offset, self.written, self.value.cut(), Late(n, self.key.cut), Late(n, self._headers))

    def _headers(self) -> list[Any]:
        found: list[list[tuple[str, Bytes]]] = [[] for _ in range(len(self))]
        cut = zip(self.header_row.tolist(), self.header_key.cut(), self.header_value.cut(), strict=True)
        for row, key, value in cut:
            found[row].append(((key or b"").decode(), value))
        return found


def unpacked(batches: Sequence[Any]) -> Unpacked:
    """Records of decompressed batches of kafka-python (format 2, DefaultRecordBatch), data batches only.

    Raises Surprise where kafka-python would raise, and for what no Kafka client writes.
    Source: the record format in Apache Kafka's documentation, "Record Batch" and "Record".
    """
    bodies = [memoryview(batch._buffer)[batch._pos :] for batch in batches]
    counts = [batch.records_count for batch in batches]
    blob = b"".join((*bodies, _PAD))
    data = np.frombuffer(blob, np.uint8)
    stops = np.cumsum([len(body) for body in bodies])
    begin = _guessed(data, stops, counts) if len(data) < _SHORT * sum(counts) else None
    size, starts = _varints(data, _walk(blob, stops.tolist(), counts) if begin is None else begin)
    ends = starts + size
    if (size < 0).any() or data[starts].any():  # of a record's attributes none is defined
        raise Surprise("a length or attributes that can't be")
    since, delta, at = _times(data, starts + 1)
    key_start, key_end, at = _bytes(data, at, ends)
    value_start, value_end, at = _bytes(data, at, ends)
    row, header_key, header_value = _headers(blob, data, at, ends)
    first = np.array([(batch.base_offset, *_clock(batch)) for batch in batches], np.int64).reshape(-1, 3)
    base, began, runs = np.repeat(first, counts, axis=0).T
    keys, values = Spans(blob, key_start, key_end), Spans(blob, value_start, value_end)
    return Unpacked(base + delta, began + runs * since, keys, values, row, header_key, header_value)


def _clock(batch: Any) -> tuple[int, int]:
    """What a record's time is counted from, and whether its own delta counts."""
    return (batch.max_timestamp, 0) if batch.timestamp_type == _APPEND_TIME else (batch.first_timestamp, 1)


def _guessed(data: npt.NDArray[np.uint8], stops: Ints, counts: Sequence[int]) -> Ints | None:
    """What ``_walk`` finds, without a loop: None where it can't be told that way.

    Most records end with a zero, for they have no headers, and the next begins with its length and the zero of its
    attributes. So each such place may be one; those that are follow one another without a gap, from the first byte
    to the last, as many in each batch as it says.
    """
    zeros = np.flatnonzero(data[: -len(_PAD)] == 0)
    if len(zeros) > _ZEROS * sum(counts):
        return None  # no text: there would be too many places to look at
    at = np.append(0, zeros + 1)
    first, second = data[at], data[at + 1]
    at = at[np.where(first < 128, second, (data[at + 2] | (second & 128))) == 0]
    size, start = _varints(data, at)
    at, end = at[size >= _LEAST], (start + size)[size >= _LEAST]
    follows = np.zeros(stops[-1] + 1, bool)
    follows[np.clip(end, 0, stops[-1])] = follows[0] = True
    real = follows[at] & (at < stops[-1])
    at, end = at[real], end[real]
    last = np.cumsum(counts) - 1
    if len(at) != last[-1] + 1 or at[0] or (end[:-1] != at[1:]).any() or (end[last] != stops).any():
        return None
    found: Ints = at
    return found


def _walk(blob: bytes, stops: Sequence[int], counts: Sequence[int]) -> Ints:
    """Where the records' lengths stand, in a loop: each tells where the next is."""
    found: list[int] = []
    note, at = found.append, 0
    for stop, count in zip(stops, counts, strict=True):
        for _ in range(count):
            note(at)
            low = blob[at]
            if low < 128:
                at += (low >> 1) + 1
            elif (high := blob[at + 1]) < 128:
                at += (low - 128 >> 1) + (high << 6) + 2
            else:
                at = _behind(blob, at)
        if at != stop:
            raise Surprise("records end before or after their batch")
    return np.array(found, np.int64)


def _behind(blob: bytes, at: int) -> int:
    """Where a record ends whose length takes three bytes or more."""
    size = shift = 0
    while True:
        byte = blob[at]
        size |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > _LAST_SHIFT:
            return at + (size >> 1)


def _varints(data: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """The numbers that begin at ``at`` (varint, zigzag), and where each ends. Raises Surprise for over-long ones."""
    first = data[at]
    raw, end, shift = (first & 127).astype(np.int64), at + 1, 7
    more = np.flatnonzero(first > 127)
    while len(more):
        if shift > _LAST_SHIFT:
            raise Surprise("a number too large")
        byte = data[end[more]]
        raw[more] |= (byte & 127).astype(np.int64) << shift
        end[more] += 1
        more, shift = more[byte > 127], shift + 7
    return (raw >> 1) ^ -(raw & 1), end


def _times(data: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints, Ints]:
    since, at = _varints(data, np.minimum(at, len(data) - len(_PAD)))
    delta, at = _varints(data, np.minimum(at, len(data) - len(_PAD)))
    return since, delta, at


def _bytes(data: npt.NDArray[np.uint8], at: Ints, stop: Ints) -> tuple[Ints, Ints, Ints]:
    """Where bytes with their length before them begin, end (before the beginning: null) and what is next."""
    if (at > stop).any():
        raise Surprise("a record runs over its end")
    size, start = _varints(data, at)
    end = start + size
    after = np.maximum(start, end)
    if (after > stop).any():
        raise Surprise("a record runs over its end")
    return start, np.where(size < 0, start - 1, end), after  # never -1, which would cut to the end of the blob


def _headers(blob: bytes, data: npt.NDArray[np.uint8], at: Ints, stop: Ints) -> tuple[Ints, Spans, Spans]:
    """The rows, keys and values of all headers; sees to it that records end where they should."""
    if (at > stop).any():
        raise Surprise("a record runs over its end")
    count, at = _varints(data, at)
    rows, rounds = np.arange(len(at)), []
    while len(rows := rows[count[rows] != 0]):
        key_start, key_end, after = _bytes(data, at[rows], stop[rows])
        value_start, value_end, at[rows] = _bytes(data, after, stop[rows])
        rounds.append((rows, key_start, key_end, value_start, value_end))
        count[rows] -= 1
        if (count[rows] < 0).any() or (key_end < key_start).any():
            raise Surprise("headers that can't be")
    if (at != stop).any():
        raise Surprise("a record that is longer than what is in it")
    found = [np.concatenate(column) for column in zip(*rounds, strict=True)] or [np.empty(0, np.int64)] * 5
    order = np.argsort(found[0], kind="stable")
    row, key_start, key_end, value_start, value_end = (column[order] for column in found)
    keys = Spans(blob, key_start, key_end)
    _check_text(keys)
    return row, keys, Spans(blob, value_start, value_end)


def _check_text(keys: Spans) -> None:
    try:
        for key in set(keys.cut()):
            (key or b"").decode()
    except UnicodeDecodeError as error:
        raise Surprise("the name of a header is not UTF-8") from error
