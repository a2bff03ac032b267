"""The fast way for JSON messages whose fields all stand at the top: a typed struct, then whole columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Ints, Times
from connectors.decoded import Found, Messages, Undecodable, number
from connectors.fieldpath import Path
from connectors.naming import Naming
from connectors.timestamp import BadTime, TimeReader

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_AGAIN = -1  # a time that can't be read this way

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ValueField:
    """A field that holds values, and the streams that its values belong to."""

    value: Path
    naming: Naming


@dataclass(frozen=True, slots=True)
class PlainJson:
    """Reads what it can in columns and leaves the rest to the exact way, which says what is wrong with it."""

    fields: Sequence[ValueField]
    time: Path
    reader: TimeReader | None  # None = the time of the record
    decoder: msgspec.json.Decoder[Any]
    attribute: dict[str, str]  # of the struct, by the name of the field

    def read(self, messages: Messages, limit: int, found: Found) -> list[int]:
        """Add readings of messages up to ``limit`` bytes to ``found``; returns the rows that are left."""
        structs, rows = self._structs(messages.payloads, limit)
        left = np.ones(len(messages.payloads), bool)
        if structs:
            left[rows] = self._readings(structs, rows, messages, found)
        return [int(row) for row in np.flatnonzero(left)]

    def _structs(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Any], Rows]:
        decode: Any = self.decoder.decode
        try:
            if max(map(len, payloads)) <= limit:  # type: ignore[arg-type]  # TypeError for a tombstone
                return list(map(decode, payloads)), np.arange(len(payloads))
        except (*UNREADABLE, TypeError):
            pass
        singly = [(self._struct(payload, limit), row) for row, payload in enumerate(payloads)]
        good = [(struct, row) for struct, row in singly if struct is not None]
        return [struct for struct, _ in good], np.array([row for _, row in good], np.intp)

    def _struct(self, payload: bytes | None, limit: int) -> Any:
        try:
            return self.decoder.decode(payload) if payload and len(payload) <= limit else None
        except UNREADABLE:
            return None

    def _readings(self, structs: list[Any], rows: Rows, messages: Messages, found: Found) -> Bools:
        """Add the readings; returns which structs have to be read again."""
        ts = self._times(structs, rows, messages)
        columns = [self._values(part, structs, rows, messages) for part in self.fields]
        absent = np.array([column[2] for column in columns])  # [fields, structs]
        again: Bools = (ts < 0) | absent.all(axis=0) | np.any([column[3] for column in columns], axis=0)
        at, which = np.nonzero(~(absent | again).T)  # message by message, its fields in their order
        slots = np.array([column[0] for column in columns])[which, at]
        values = np.array([column[1] for column in columns])[which, at]
        found.add(slots, ts[at], values, rows[at].astype(np.int32))
        found.absent += int(absent[:, ~again].sum())
        return again

    def _times(self, structs: list[Any], rows: Rows, messages: Messages) -> Times:
        if self.reader is None:
            return np.full(len(rows), _AGAIN) if messages.record_ts is None else messages.record_ts[rows]
        times = self._column(self.time.text, structs)
        try:
            return self.reader.column(times)
        except (BadTime, OverflowError):
            return np.array([_time(self.reader, time) for time in times], np.int64)

    def _values(
        self, part: ValueField, structs: list[Any], rows: Rows, messages: Messages
    ) -> tuple[Ints, Floats, Bools, Bools]:
        """Slots, values, which are absent and which have to be read again."""
        raw = self._column(part.value.text, structs)
        several = len(self.fields) > 1  # a single one has to be there
        absent = np.array([value is msgspec.UNSET for value in raw], bool) if several else np.zeros(len(raw), bool)
        values, again = _numbers(raw)
        slots = part.naming.known(self._names(part.naming, structs, rows, messages))
        if None in slots:
            again |= np.array([slot is None for slot in slots])
        return np.array([slot or 0 for slot in slots], np.int32), values, absent, again & ~absent

    def _names(self, naming: Naming, structs: list[Any], rows: Rows, messages: Messages) -> Sequence[object]:
        parts = [self._parts(where, structs, rows, messages) for where in naming.paths]
        if len(parts) == 1:
            return parts[0]
        return list(zip(*parts, strict=True)) if parts else [()] * len(structs)

    def _parts(self, where: Path, structs: list[Any], rows: Rows, messages: Messages) -> Sequence[object]:
        if not where.outside:
            return self._column(where.text, structs)
        return [where.beside(messages.key(row), messages.header(row)) for row in rows]

    def _column(self, name: str, structs: list[Any]) -> list[Any]:
        return list(map(attrgetter(self.attribute[name]), structs))


def plain_json(fields: Sequence[ValueField], time: Path, reader: TimeReader | None, time_type: Any) -> PlainJson | None:
    """The fast way for these fields; None where one of them does not stand at the top."""
    types: dict[str, Any] = {} if reader is None else {time.text: time_type}
    inside = [where for part in fields for where in part.naming.paths if not where.outside]
    wanted = [(where.text, str | int) for where in inside]
    optional = msgspec.UnsetType if len(fields) > 1 else None
    wanted += [(part.value.text, float | str | optional | None) for part in fields]  # type: ignore[misc]
    for name, kind in wanted:
        if types.setdefault(name, kind) != kind:
            return None  # a field with two uses
    simple = all(where.simple for where in [*inside, *(part.value for part in fields)])
    if not simple or not (reader is None or time.simple):
        return None
    return PlainJson(fields, time, reader, *_decoder(types))


def _decoder(types: dict[str, Any]) -> tuple[msgspec.json.Decoder[Any], dict[str, str]]:
    attribute = {name: f"f{number}" for number, name in enumerate(types)}
    members = [
        (attribute[name], kind, msgspec.field(name=name, default=_default(kind))) for name, kind in types.items()
    ]
    struct = msgspec.defstruct("Message", members, kw_only=True, gc=False)
    return msgspec.json.Decoder(struct), attribute


def _default(kind: Any) -> Any:
    """Unset where the type allows it; else the field is required."""
    return msgspec.UNSET if msgspec.UnsetType in getattr(kind, "__args__", ()) else msgspec.NODEFAULT


def _time(reader: TimeReader, time: object) -> int:
    try:
        return reader.one(time)
    except BadTime:
        return _AGAIN


def _numbers(raw: Sequence[Any]) -> tuple[Floats, Bools]:
    """Values, and which are no numbers."""
    try:
        return np.array(raw, np.float64), np.zeros(len(raw), bool)
    except (ValueError, TypeError, OverflowError):
        pass
    values = np.array([_number(value) for value in raw], object)
    again = values == None  # noqa: E711  element by element
    values[again] = np.nan
    return values.astype(np.float64), again


def _number(value: Any) -> float | None:
    try:
        return number("", value)
    except Undecodable:
        return None
