"""JSON messages to readings in columns, as field paths and templates say; a bad message costs itself only."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from connectors.batch import StreamTable, Times
from connectors.decoded import Decoded, Found, Messages, Undecodable, number
from connectors.fieldpath import MISSING, Headers, Path, path, template
from connectors.naming import Naming
from connectors.plainjson import UNREADABLE, PlainJson, ValueField, plain_json
from connectors.timestamp import LAST, BadTime, TimeReader

_DEFAULTS: dict[str, object] = {"stream": "stream", "group": "group", "time": "ts", "value": "value", "labels": {}}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the messages of one topic are read."""

    fields: Sequence[ValueField]
    plain: PlainJson | None


class JsonCodec:
    """Decodes JSON objects as ``fields`` says.

    ``fields``: ``stream``, ``group`` and each of ``labels`` are templates (``{machine}/{sensor}``) or paths, ``time``
    is a path, ``value`` a path or several (then ``{_field}`` in ``stream`` tells them apart). Templates also know
    ``{_key}``, ``{_topic}`` and ``{_header.x}``. Where a message names no group, it is what stands before the last
    ``/`` of the stream's name. ``time_unit``: s, ms, us, ns, rfc3339 or record (the record's own time); ``zone``: where
    text without an offset comes from. Messages over ``message_bytes`` are undecodable.
    Raises ValueError where ``fields``, ``time_unit`` or ``zone`` make no sense.
    """

    def __init__(
        self,
        fields: Mapping[str, object] | None,
        time_unit: str,
        zone: str | None,
        table: StreamTable,
        message_bytes: int = 1 << 20,
    ) -> None:
        self._fields = {**_DEFAULTS, **_checked(fields or {})}
        self._values = _value_paths(self._fields)
        self._time = path(_text("time", self._fields["time"]))
        self._reader = None if time_unit == "record" else TimeReader(time_unit, zone)
        self._time_type = str if time_unit == "rfc3339" else int | float | str
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
        wrong_type, bad_time, bad_stream.
        """
        messages, found, plan = Messages(payloads, keys, headers, record_ts), Found(), self._plan(topic)
        rows: Iterable[int] = range(len(payloads))
        if plan.plain is not None and len(payloads):
            rows = plan.plain.read(messages, self._message_bytes, found)
        for row in rows:
            try:
                found.add_message(row, self._read(plan, messages, row, found))
            except Undecodable as error:
                found.bad.append((row, error.reason, str(error)))
        return found.decoded()

    def _plan(self, topic: str) -> _Plan:
        if topic not in self._topics:
            fields = [ValueField(value, self._naming(topic, value)) for value in self._values]
            plain = plain_json(fields, self._time, self._reader, self._time_type)
            self._topics[topic] = _Plan(fields, plain)
        return self._topics[topic]

    def _naming(self, topic: str, value: Path) -> Naming:
        known, labels = {"_topic": topic, "_field": value.text}, self._fields["labels"]
        if not isinstance(labels, Mapping):
            raise ValueError("fields.labels: write a mapping of label to template")
        return Naming(
            template(_text("stream", self._fields["stream"]), known),
            template(_text("group", self._fields["group"]), known),
            {str(label): template(_text(f"labels.{label}", text), known) for label, text in labels.items()},
            self._table,
        )

    def _read(self, plan: _Plan, messages: Messages, row: int, found: Found) -> list[tuple[int, int, float]]:
        """The readings of one message (slot, time, value), the exact way. Raises Undecodable."""
        document = _document(messages.payloads[row], self._message_bytes)
        key, headers = messages.key(row), messages.header(row)
        values = [(part.naming, part.value.text, part.value.of(document, key, headers)) for part in plan.fields]
        present = [(naming, number(where, value)) for naming, where, value in values if value is not MISSING]
        if not present:
            raise Undecodable("missing_value", f"no {' or '.join(where for _, where, _ in values)}")
        ts = self._time_of(document, messages, row)
        readings = [(naming.slot(document, key, headers), ts, value) for naming, value in present]
        found.absent += len(values) - len(present)
        return readings

    def _time_of(self, document: object, messages: Messages, row: int) -> int:
        if self._reader is None:
            return _record_time(messages, row)
        time = self._time.of(document, messages.key(row), messages.header(row))
        if time is MISSING or time is None:
            raise Undecodable("missing_time", f"no {self._time.text}")
        try:
            return self._reader.one(time)
        except BadTime as error:
            raise Undecodable("bad_time", f"{self._time.text}: {error}") from error


def _record_time(messages: Messages, row: int) -> int:
    time = -1 if messages.record_ts is None else int(messages.record_ts[row])
    if not 0 <= time <= LAST:
        raise Undecodable("missing_time", "the record has no time")
    return time


def _document(payload: bytes | None, limit: int) -> dict[str, object]:
    if not payload or payload.isspace():
        raise Undecodable("empty", "a message without a payload")
    if len(payload) > limit:
        raise Undecodable("oversize", f"{len(payload)} bytes, more than limits.message_bytes = {limit}")
    document = _parsed(payload)
    if not isinstance(document, dict):
        raise Undecodable("not_object", f"not a JSON object but {type(document).__name__}")
    return document


def _parsed(payload: bytes) -> object:
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE as error:
        return _leniently(payload, str(error))


def _leniently(payload: bytes, wrong: str) -> object:
    """The standard library's reading: it takes NaN, Infinity and 1e999, which many writers send."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Undecodable("malformed", wrong[:200]) from error


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
    if len(names) > 1 and "{_field}" not in str(fields["stream"]):
        raise ValueError("fields.value names several fields: {_field} in fields.stream has to tell them apart")
    return [path(_text("value", name)) for name in names]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"fields.{name}: write a path or a template, not {value!r}")
    return value
