"""Blocks to readings: whole columns where all is well, row by row where it has to be said what is wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectors.batch import Floats, Ints, Times
from connectors.formats.block import Block, Bools, Column, Rows, Values
from connectors.formats.decoded import Found, Messages, Undecodable, number
from connectors.formats.fieldpath import MISSING, Path
from connectors.formats.naming import UNKNOWN, Naming
from connectors.formats.timestamp import LAST, BadTime, TimeReader

_AGAIN = -1  # a time that can't be read
_PIECE = 64  # rows that are tried together where a whole column can't be read
_NUMBERS: frozenset[type] = frozenset({int, float, str, type(None)})
_TIMES = frozenset({int, float, str})
_NAMES = frozenset({int, str, bytes})


@dataclass(frozen=True, slots=True)
class ValueField:
    """A field that holds values, and the streams that its values belong to."""

    value: Path
    naming: Naming


@dataclass(frozen=True, slots=True)
class Extract:
    """What is a reading in the rows of a block."""

    fields: Sequence[ValueField]
    time: Path
    reader: TimeReader | None  # None = the time of the record

    def whole(self, block: Block, messages: Messages, found: Found) -> Rows:
        """Add the readings of all messages that are as they should be; returns the others, to be read ``singly``."""
        ts = self._times(block, messages)
        columns = [self._values(part, block, messages) for part in self.fields]
        if len(columns) == 1 and not (columns[0].again.any() or columns[0].absent.any() or (ts < 0).any()):
            found.add(columns[0].slots, ts, columns[0].values, block.row.astype(np.int32))
            return np.empty(0, np.intp)
        return self._fit(ts, columns, block, found)

    def _fit(self, ts: Times, columns: Sequence[_Values], block: Block, found: Found) -> Rows:
        """The same where several fields have values, or some are not as they should be."""
        absent = np.array([column.absent for column in columns])  # [fields, rows]
        bad: Bools = (ts < 0) | absent.all(axis=0) | np.any([column.again for column in columns], axis=0)
        again = np.unique(block.row[bad]) if bad.any() else np.empty(0, np.intp)
        left = ~np.isin(block.row, again) if len(again) else np.ones(len(block), bool)
        at, which = np.nonzero((~absent & left).T)  # row by row, its fields in their order
        slots = np.array([column.slots for column in columns])[which, at]
        values = np.array([column.values for column in columns])[which, at]
        found.add(slots, ts[at], values, block.row[at].astype(np.int32))
        found.absent += int(absent[:, left].sum())
        return again

    def singly(self, block: Block, messages: Messages, found: Found) -> None:
        """Add the readings of the one message that this block (with all its columns) is of; raises Undecodable."""
        rows: dict[str, Values] = {text: column.rows() for text, column in block.columns.items()}
        taken, absent = [], 0
        for i in range(len(block)):
            message = int(block.row[i])
            try:
                at = _looker(rows, i, messages, message)
                read = self._row(at, messages, message)
            except Undecodable as error:
                told = f"{error} (row {i} of {len(block)})" if len(block) > 1 else str(error)
                raise Undecodable(error.reason, told) from error
            absent += len(self.fields) - len(read)
            taken += [(naming, at, message, ts, value) for naming, ts, value in read]
        for naming, at, message, ts, value in taken:  # streams begin only where the whole message is good
            found.add_message(message, [(naming.slot(at), ts, value)])
        found.absent += absent

    def _row(self, at: Callable[[Path], object], messages: Messages, message: int) -> list[tuple[Naming, int, float]]:
        values = [(part.naming, part.value.text, at(part.value)) for part in self.fields]
        present = [(naming, number(where, value)) for naming, where, value in values if value is not MISSING]
        if not present:
            raise Undecodable("missing_value", f"no {' or '.join(where for _, where, _ in values)}")
        ts = self._time_of(at, messages, message)
        for naming, _ in present:
            naming.name(at)
        return [(naming, ts, value) for naming, value in present]

    def _time_of(self, at: Callable[[Path], object], messages: Messages, message: int) -> int:
        if self.reader is None:
            return _record_time(messages, message)
        time = at(self.time)
        if time is MISSING or time is None:
            raise Undecodable("missing_time", f"no {self.time.text}")
        try:
            return self.reader.one(time)
        except BadTime as error:
            raise Undecodable("bad_time", f"{self.time.text}: {error}") from error

    def _times(self, block: Block, messages: Messages) -> Times:
        if self.reader is None:
            given = messages.record_ts
            return np.full(len(block), _AGAIN) if given is None else given[block.row]
        column = self._column(self.time, block, messages)
        read = _in_columns(self.reader.column, column, _TIMES)
        times: Times = _pieces(column.values, read, lambda time: _time(self.reader, time), np.int64)
        return times if column.at is None else times[column.at]

    def _values(self, part: ValueField, block: Block, messages: Messages) -> _Values:
        column = self._column(part.value, block, messages)
        values, again, absent = _numbers(column, len(self.fields) > 1)
        slots, unknown = self._slots(part.naming, block, messages)
        if column.at is not None:
            values, again, absent = values[column.at], again[column.at], absent[column.at]
        return _Values(slots, values, absent, (again | unknown) & ~absent)

    def _slots(self, naming: Naming, block: Block, messages: Messages) -> tuple[Ints, Bools]:
        """Slots, and which rows are of streams that are not known yet."""
        parts = [self._column(where, block, messages) for where in naming.paths]
        parts = [Column(_named(part), part.at) for part in parts]
        if parts:
            slots = naming.slots(parts, len(block))
            return slots, slots == UNKNOWN
        found = naming.known([()] * len(block))  # one name for all
        if None not in found:
            return np.array(found, np.int32), np.zeros(len(found), bool)
        unknown = np.array([slot is None for slot in found])
        return np.array([slot or 0 for slot in found], np.int32), unknown

    def _column(self, where: Path, block: Block, messages: Messages) -> Column:
        if not where.outside:
            return block.columns[where.text]
        n = len(messages.payloads)
        return Column([where.beside(messages.key(row), messages.header(row)) for row in range(n)], block.row)


@dataclass(frozen=True, slots=True)
class _Values:
    """Of one field, a row each."""

    slots: Ints
    values: Floats
    absent: Bools
    again: Bools


def _looker(rows: dict[str, Values], i: int, messages: Messages, message: int) -> Callable[[Path], object]:
    """What stands at a path, for one row."""

    def at(where: Path) -> object:
        if where.outside:
            found = where.beside(messages.key(message), messages.header(message))
            return MISSING if found is None else found
        value = rows[where.text][i]
        return _plain(value)

    return at


def _plain(value: object) -> object:
    """NumPy's scalars as Python's; times stay, and one that is not there is None."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value
    return value.item() if isinstance(value, np.generic) else value


def _record_time(messages: Messages, row: int) -> int:
    time = -1 if messages.record_ts is None else int(messages.record_ts[row])
    if not 0 <= time <= LAST:
        raise Undecodable("missing_time", "the record has no time")
    return time


def _in_columns(read: Callable[[Values], Any], column: Column, kinds: frozenset[type]) -> Callable[[Values], Any]:
    """``read``, which raises BadTime where values are of a kind that NumPy would take for another."""
    if column.typed or isinstance(column.values, np.ndarray):
        return read

    def checked(values: Values) -> Any:
        if not kinds.issuperset(map(type, values)):
            raise BadTime("of mixed kinds")
        return read(values)

    return checked


def _pieces(values: Values, read: Callable[[Values], Any], one: Callable[[Any], Any], dtype: Any) -> Any:
    """All values by ``read`` where it can; else in pieces, and only in those where it can't one by one."""
    try:
        return read(values)
    except (ValueError, TypeError, OverflowError):  # BadTime too
        pass
    if len(values) > _PIECE:
        pieces = [_pieces(values[i : i + _PIECE], read, one, dtype) for i in range(0, len(values), _PIECE)]
        return np.concatenate(pieces)
    return np.array([one(value) for value in values], dtype)


def _numbers(column: Column, several: bool) -> tuple[Floats, Bools, Bools]:
    """Values, which of them are no numbers, and which are absent (only where there are ``several`` fields)."""
    values, n = column.values, len(column.values)
    none = np.zeros(n, bool)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return np.full(n, np.nan), ~none, none  # times are no values
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return values.astype(np.float64), none, none
    absent = none
    if several and MISSING in values:
        absent = np.array([value is MISSING for value in values])
        values = [None if value is MISSING else value for value in values]
    read = _in_columns(_floats, column, _NUMBERS)
    wrong: list[int] = []
    floats: Floats = _pieces(values, read, _number, np.float64)
    if np.isposinf(floats).any():  # what is no number is told from what is infinite by looking at it again
        wrong = [i for i in np.flatnonzero(np.isposinf(floats)).tolist() if _wrong(values[i])]
    again = none.copy() if wrong else none
    again[wrong] = True
    return floats, again, absent


def _floats(values: Values) -> Floats:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    try:
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))  # three times as fast as NumPy's own ways
    except struct.error:
        return np.array(values, np.float64)  # takes text, and None for NaN


def _number(value: Any) -> float:
    try:
        return number("", value)
    except Undecodable:
        return np.inf  # and looked at again


def _wrong(value: Any) -> bool:
    try:
        number("", value)
    except Undecodable:
        return True
    return False


def _named(column: Column) -> Values:
    """Parts of names; what can't be one, however equal to one (1.0 to 1), is None."""
    if isinstance(column.values, np.ndarray):
        column = Column(column.values.tolist())
    if column.typed or _NAMES.issuperset(map(type, column.values)):
        return column.values
    return [value if type(value) in _NAMES else None for value in column.values]


def _time(reader: TimeReader | None, time: object) -> int:
    try:
        return _AGAIN if reader is None else reader.one(time)
    except BadTime:
        return _AGAIN
