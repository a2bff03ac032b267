"""Messages to readings in columns, as field paths and templates say; a bad message costs itself only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from connectors.batch import StreamTable, Times
from connectors.formats.block import Block, Rows
from connectors.formats.decoded import Decoded, Found, Messages, Undecodable
from connectors.formats.documents import Documents
from connectors.formats.extract import Extract, ValueField
from connectors.formats.fieldpath import Headers, Path, path, template
from connectors.formats.naming import Naming
from connectors.formats.shape import FIELD, Shape, shape_of
from connectors.formats.timestamp import TimeReader

Format = Literal["json", "columns", "msgpack", "arrow", "csv"]
_DEFAULTS: dict[str, object] = {"stream": "stream", "group": "group", "time": "ts", "value": "value", "labels": {}}
_FEW = 8  # rows of a message that are sooner read one by one than in columns


class Reader(Protocol):
    """What knows a format: messages to blocks of rows."""

    def read(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Block], Rows]:
        """Rows of all messages up to ``limit`` bytes that can be read at once, and the messages that are left."""
        ...

    def exact(self, payload: bytes, message: int, limit: int) -> Block:
        """Rows of one message with all columns; raises Undecodable."""
        ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the messages of one topic are read."""

    extract: Extract
    reader: Reader


class Codec:
    """Decodes messages of one ``format`` as ``fields`` says; a message gives all of its readings, or none.

    ``fields``: ``stream``, ``group`` and each of ``labels`` are templates (``{machine}/{sensor}``) or paths, ``time``
    is a path, ``value`` a path or several (then ``{_field}`` in ``stream`` tells them apart; also for one that ends
    with ``*``). Templates also know ``{_key}``, ``{_topic}`` and ``{_header.x}``. Where a message names no group, it
    is what stands before the last ``/`` of the stream's name. ``time_unit``: s, ms, us, ns, rfc3339 or record (the
    record's own time); ``zone``: where text without an offset comes from. Messages over ``message_bytes`` are
    undecodable. ``header`` names the columns of CSV that has no head line. Raises ValueError where any of these make
    no sense.
    """

    def __init__(
        self,
        format: Format,
        fields: Mapping[str, object] | None,
        time_unit: str,
        zone: str | None,
        table: StreamTable,
        message_bytes: int = 1 << 20,
        header: Sequence[str] = (),
    ) -> None:
        self._format, self._zone, self._header = format, zone, tuple(header)
        self._fields = {**_DEFAULTS, **_checked(fields or {})}
        self._values = _value_paths(self._fields)
        self._time = path(_text("time", self._fields["time"]))
        self._unit = time_unit
        self._reader = None if time_unit == "record" else TimeReader(time_unit, zone)
        self._table, self._message_bytes = table, message_bytes
        self._topics: dict[str, _Plan] = {}
        self._plan("")  # raises for bad templates now, not with the first message

    def decode(
        self,
        payloads: Sequence[bytes | None],
        keys: Sequence[bytes | None] = (),
        headers: Sequence[Headers] = (),
        topic: str = "",
        record_ts: Times | None = None,
    ) -> Decoded:
        """Readings of messages of one topic; ``record_ts`` in ns. Never raises for what a message holds.

        Reasons for bad ones: empty, oversize, malformed, not_object, missing_stream, missing_time, missing_value,
        wrong_type, wrong_length, bad_time, bad_stream.
        """
        messages, found, plan = Messages(payloads, keys, headers, record_ts), Found(), self._plan(topic)
        if not len(payloads):
            return found.decoded()
        blocks, left = plan.reader.read(payloads, self._message_bytes)
        again = [plan.extract.whole(block, messages, found) for block in blocks if len(block)]
        for row in np.concatenate([left, *again]).tolist():
            try:
                self._one(plan, messages, row, found)
            except Undecodable as error:
                found.bad.append((row, error.reason, str(error)))
        return found.decoded()

    def _one(self, plan: _Plan, messages: Messages, row: int, found: Found) -> None:
        """The readings of one message, the exact way; raises Undecodable."""
        payload = messages.payloads[row]
        if not payload:
            raise Undecodable("empty", "a message without a payload")
        if len(payload) > self._message_bytes:
            told = f"{len(payload)} bytes, more than limits.message_bytes = {self._message_bytes}"
            raise Undecodable("oversize", told)
        block = plan.reader.exact(payload, row, self._message_bytes)
        if len(block) <= _FEW or len(plan.extract.whole(block, messages, found)):
            plan.extract.singly(block, messages, found)

    def _plan(self, topic: str) -> _Plan:
        if topic not in self._topics:
            fields = [ValueField(value, self._naming(topic, value)) for value in self._values]
            self._topics[topic] = _Plan(Extract(fields, self._time, self._reader), self._made(fields))
        return self._topics[topic]

    def _made(self, fields: Sequence[ValueField]) -> Reader:
        """The reader of this format for these fields."""
        times = [] if self._reader is None else [self._time]
        named = [where for part in fields for where in part.naming.paths]
        others = [where for part in fields for where in part.naming.others]
        usual = self._shape([*times, *named, *self._values])
        whole = self._shape([*times, *named, *self._values, *others])
        if self._format == "arrow":
            from connectors.formats.arrowblock import ArrowReader  # only those who read Arrow pay for its import

            return ArrowReader(usual, whole, self._zone)
        if self._format == "csv":
            from connectors.formats.csvblock import CsvReader

            return CsvReader(usual, whole, self._header)
        return Documents(usual, whole, self._kinds(times, named), self._format == "msgpack")

    def _shape(self, paths: Sequence[Path]) -> Shape:
        inside = [where for where in paths if not where.outside]
        return shape_of(inside, self._values, self._format in ("columns", "msgpack"))

    def _kinds(self, times: Sequence[Path], named: Sequence[Path]) -> dict[str, Any] | None:
        """The types of the fields in an ordinary message; None where one of them has two uses."""
        kinds: dict[str, Any] = {where.text: str if self._unit == "rfc3339" else int | float | str for where in times}
        wanted: list[tuple[str, Any]] = [(where.text, str | int) for where in named if not where.outside]
        optional = msgspec.UnsetType if len(self._values) > 1 else None
        wanted += [(where.text, float | str | optional | None) for where in self._values]
        for text, kind in wanted:
            if kinds.setdefault(text, kind) != kind:
                return None
        return kinds

    def _naming(self, topic: str, value: Path) -> Naming:
        known, labels = {"_topic": topic}, self._fields["labels"]
        if not value.members:
            known[FIELD] = value.text.rpartition("[].")[2]
        if not isinstance(labels, Mapping):
            raise ValueError("fields.labels: write a mapping of label to template")
        return Naming(
            template(_text("stream", self._fields["stream"]), known),
            template(_text("group", self._fields["group"]), known),
            {str(label): template(_text(f"labels.{label}", text), known) for label, text in labels.items()},
            self._table,
        )


class JsonCodec(Codec):
    """Decodes JSON objects, one reading (or one of several values) a message or a line."""

    def __init__(
        self,
        fields: Mapping[str, object] | None,
        time_unit: str,
        zone: str | None,
        table: StreamTable,
        message_bytes: int = 1 << 20,
    ) -> None:
        super().__init__("json", fields, time_unit, zone, table, message_bytes)


def _checked(fields: Mapping[str, object]) -> Mapping[str, object]:
    for name in fields:
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_DEFAULTS)}"
            raise ValueError(f"fields.{name}: no such field{meant}")
    return {name: value for name, value in fields.items() if value is not None}


def _value_paths(fields: Mapping[str, object]) -> list[Path]:
    value = fields["value"]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or len(set(map(str, names))) < len(names):
        raise ValueError("fields.value: write a path, or a list of different ones")
    paths = [path(_text("value", name)) for name in names]
    if (len(paths) > 1 or paths[0].members) and "{_field}" not in str(fields["stream"]):
        raise ValueError("fields.value names several fields: {_field} in fields.stream has to tell them apart")
    return paths


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"fields.{name}: write a path or a template, not {value!r}")
    return value
