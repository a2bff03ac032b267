"""Messages to readings: how many a CPU second gives in each format, beside a loop of json.loads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.arrow import long, stream
from connectors.batch import StreamTable
from connectors.clock import Stopwatch
from connectors.formats.codec import Codec, Format

_POLL = 5_000  # messages that are decoded together
_PACKED = 100  # readings a message
_START_MS = 1_700_000_000_000
Readings = list[dict[str, Any]]
_FLAT = {"stream": "{machine}/{sensor}", "group": "{machine}"}
_NESTED = {
    "stream": "{tags.machine}/{tags.sensor}", "group": "{tags.machine}", "time": "at.ms", "value": "data.value",
}  # fmt: skip
_LISTED = {
    "stream": "{machine}/{readings[].sensor}", "group": "{machine}", "time": "readings[].ts",
    "value": "readings[].value",
}  # fmt: skip


def measure(streams: int, seconds: float) -> dict[str, Any]:
    """Readings per CPU second of each way of writing the same readings, by the best of the runs in ``seconds`` each.

    ``found`` are name, format, readings a message, bytes a reading, readings a second; the first is the naive loop.
    """
    single = [_reading(n % streams, n) for n in range(_POLL)]
    packed = [_machine(n, streams) for n in range(_POLL // 10)]
    objects = [msgspec.json.encode(reading) for reading in single]
    columns = [_columns(readings) for readings in packed]
    found = [
        _timed("naive: json.loads and a dict of names", "-", objects, 1, _naive(), seconds),
        _codec("json, one reading", "json", _FLAT, objects, 1, seconds),
        _codec("json, nested", "json", _NESTED, [msgspec.json.encode(_nest(r)) for r in single], 1, seconds),
        _codec("msgpack, one reading", "msgpack", _FLAT, list(map(msgspec.msgpack.encode, single)), 1, seconds),
        _codec("json, a list of objects", "json", _FLAT, list(map(msgspec.json.encode, packed)), _PACKED, seconds),
        _codec("json, a list beside a name", "json", _LISTED, [_listed(r) for r in packed], _PACKED, seconds),
        _codec("columns", "columns", _FLAT, list(map(msgspec.json.encode, columns)), _PACKED, seconds),
        _codec("msgpack columns", "msgpack", _FLAT, list(map(msgspec.msgpack.encode, columns)), _PACKED, seconds),
        _codec("csv", "csv", _FLAT, [_csv(readings) for readings in packed], _PACKED, seconds),
        _codec("arrow, long", "arrow", _FLAT, [_arrow(each) for each in columns], _PACKED, seconds),
    ]
    wide = {"stream": "{machine}/{_field}", "group": "{machine}", "value": "*"}
    found.append(_codec("arrow, wide", "arrow", wide, [_wide(n) for n in range(_POLL // 10)], _PACKED, seconds))
    large = [
        _arrow({name: each[name] if name == "machine" else each[name] * 100 for name in each}) for each in columns[:20]
    ]
    found.append(_codec("arrow, long", "arrow", _FLAT, large, 100 * _PACKED, seconds))
    return {"found": found}


def _reading(stream: int, n: int) -> dict[str, Any]:
    ts, value = _START_MS + n, round(20 + np.sin(n) * 5, 4)
    return {"machine": f"press{stream // 20}", "sensor": f"s{stream % 20}", "ts": ts, "value": float(value)}


def _machine(n: int, streams: int) -> Readings:
    """All of one message are of one machine: five readings of twenty sensors."""
    first = n * 20 % streams
    return [_reading(first + at % 20, n * _PACKED + at) for at in range(_PACKED)]


def _nest(reading: dict[str, Any]) -> dict[str, Any]:
    tags = {"machine": reading["machine"], "sensor": reading["sensor"]}
    return {"tags": tags, "at": {"ms": reading["ts"]}, "data": {"value": reading["value"], "unit": "C"}}


def _listed(readings: Readings) -> bytes:
    inner = [{name: reading[name] for name in ("sensor", "ts", "value")} for reading in readings]
    return msgspec.json.encode({"machine": readings[0]["machine"], "readings": inner})


def _columns(readings: Readings) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [reading[name] for reading in readings] for name in ("sensor", "ts", "value")}
    return {"machine": readings[0]["machine"], **columns}


def _csv(readings: Readings) -> bytes:
    text = io.StringIO()
    text.write("machine,sensor,ts,value\r\n")
    text.writelines(",".join(map(str, reading.values())) + "\r\n" for reading in readings)
    return text.getvalue().encode()


def _arrow(columns: dict[str, Any]) -> bytes:
    machines = [columns["machine"]] * len(columns["value"])
    return long(machines, columns["sensor"], columns["ts"], columns["value"])


def _wide(n: int) -> bytes:
    values = np.sin(np.arange(_PACKED) + n).reshape(20, 5)
    ts = pa.array(_START_MS + n * 5 + np.arange(5), pa.timestamp("ms", "UTC"))
    names = {"machine": pa.array([f"press{n % 50}"] * 5).dictionary_encode(), "ts": ts}
    return stream(pa.table({**names, **{f"s{at}": values[at] for at in range(20)}}))


def _naive() -> Callable[[Sequence[bytes]], object]:
    slots: dict[str, int] = {}

    def decode(payloads: Sequence[bytes]) -> object:
        ts, values, slot = [], [], []
        for payload in payloads:
            message = json.loads(payload)
            name = f"{message['machine']}/{message['sensor']}"
            slot.append(slots.setdefault(name, len(slots)))
            ts.append(message["ts"])
            values.append(float(message["value"]))
        return np.array(slot), np.array(ts), np.array(values)

    return decode


def _codec(
    name: str, format: Format, fields: dict[str, str], payloads: list[bytes], readings: int, seconds: float
) -> dict[str, Any]:
    codec = Codec(format, fields, "ms", None, StreamTable())
    found = codec.decode(payloads)
    if len(found.ts) != readings * len(payloads) or found.bad:
        raise ValueError(f"{name}: {len(found.ts)} readings of {readings * len(payloads)}, {found.bad[:1]}")
    return _timed(name, format, payloads, readings, codec.decode, seconds)


def _timed(
    name: str, format: str, payloads: list[bytes], readings: int, decode: Callable[[Sequence[bytes]], object],
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    decode(payloads)
    whole, best = Stopwatch(), seconds
    while whole.cpu_seconds() < seconds:
        watch = Stopwatch()
        decode(payloads)
        best = min(best, watch.cpu_seconds())  # the run that others on this machine disturbed least
    rate = readings * len(payloads) / best
    size = sum(map(len, payloads)) / len(payloads) / readings
    return {
        "name": name, "format": format, "readings_per_message": readings, "bytes_per_reading": round(size, 1),
        "readings_per_second": round(rate),
    }  # fmt: skip
