"""Every format says the same, packed or not; and a message gives all of its readings, or none."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import REFUSED, StreamTable
from connectors.formats.codec import Codec, Format
from connectors.formats.decoded import Decoded

LONG = {"stream": "{machine}/{sensor}", "group": "{machine}", "labels": {"site": "{site}"}}
MS = 1_000_000


class Decoder:
    """A codec with its table, and its readings by name."""

    def __init__(self, format: Format, fields: dict[str, Any] | None = None, unit: str = "ms", **rest: Any) -> None:
        self.table = StreamTable(rest.pop("limit", 100_000))
        self.codec = Codec(format, fields, unit, rest.pop("zone", None), self.table, **rest)
        self.last: Decoded | None = None

    def __call__(self, *payloads: bytes | None, **more: Any) -> list[tuple[str, int, float, int]]:
        found = self.last = self.codec.decode(payloads, **more)
        names = [self.table.names[slot] if slot != REFUSED else "refused" for slot in found.stream.tolist()]
        values = [None if math.isnan(value) else value for value in found.value.tolist()]
        return list(zip(names, (found.ts // MS).tolist(), values, found.row.tolist(), strict=True))

    @property
    def bad(self) -> list[tuple[int, str]]:
        assert self.last is not None
        return [(row, reason) for row, reason, text in self.last.bad if text]

    @property
    def counts(self) -> dict[str, int]:
        assert self.last is not None
        return dict(self.last.counts)


def packed(document: object) -> bytes:
    return json.dumps(document).encode()


def arrow(file: bool = False, compression: str | None = None, chunk: int = 2, **columns: Any) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue())


def as_csv(columns: dict[str, Sequence[Any]]) -> bytes:
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\r\n".join(rows).encode()


COLUMNS = {
    "machine": ["p1", "p1", "p2"],
    "sensor": ["temp", "load", "temp"],
    "ts": [1, 2, 3],
    "value": [1.5, 2.0, -3.25],
    "site": ["x", "y", "z"],
}
OBJECTS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
READINGS = [("p1/temp", 1, 1.5), ("p1/load", 2, 2.0), ("p2/temp", 3, -3.25)]

WAYS: dict[str, tuple[Format, bytes]] = {
    "list of JSON objects": ("json", packed(OBJECTS)),
    "columns": ("columns", packed(COLUMNS)),
    "objects as columns": ("columns", packed(OBJECTS)),
    "MessagePack columns": ("msgpack", msgspec.msgpack.encode(COLUMNS)),
    "MessagePack objects": ("msgpack", msgspec.msgpack.encode(OBJECTS)),
    "Arrow stream": ("arrow", arrow(**COLUMNS)),
    "Arrow file": ("arrow", arrow(file=True, **COLUMNS)),
    "Arrow, compressed": ("arrow", arrow(compression="zstd", **COLUMNS)),
    "CSV": ("csv", as_csv(COLUMNS)),
}


@pytest.mark.parametrize(("format", "payload"), WAYS.values(), ids=WAYS)
def test_one_message_brings_many_streams_in_every_format(format: Format, payload: bytes) -> None:
    decode = Decoder(format, LONG)
    for _ in range(2):  # new streams, then known ones
        assert decode(payload, payload) == [(*reading, row) for row in (0, 1) for reading in READINGS]
        assert decode.bad == [] and decode.counts == {}
    assert decode.table.groups == ["p1", "p1", "p2"]
    assert [labels["site"] for labels in decode.table.labels] == ["x", "y", "z"]


def test_one_stream_with_arrays_and_a_message_with_a_single_reading() -> None:
    decode = Decoder("columns")
    assert decode(
        packed({"stream": "a/b", "ts": [1, 2], "value": [3, None]}),
        packed({"stream": "a/b", "ts": 3, "value": 4.5}),
        packed({"stream": ["a/b", "a/c"], "ts": 5, "value": [5, 6]}),
        packed({"stream": "a/b", "ts": [], "value": []}),
    ) == [("a/b", 1, 3, 0), ("a/b", 2, None, 0), ("a/b", 3, 4.5, 1), ("a/b", 5, 5, 2), ("a/c", 5, 6, 2)]


def test_several_values_are_columns_side_by_side() -> None:
    fields = {"stream": "{m}/{_field}", "value": ["temp", "load"]}
    columns = {"m": ["p", "q"], "ts": [1, 2], "temp": [1.0, 2.0], "load": [3.0, 4.0]}
    want = [("p/temp", 1, 1, 0), ("p/load", 1, 3, 0), ("q/temp", 2, 2, 0), ("q/load", 2, 4, 0)]
    ways: dict[Format, bytes] = {"columns": packed(columns), "arrow": arrow(**columns), "csv": as_csv(columns)}
    for format, payload in ways.items():
        decode = Decoder(format, fields)
        assert decode(payload) == decode(payload) == want
    decode = Decoder("columns", fields)
    without = packed({"m": "p", "ts": [1, 2], "load": [3, 4]})
    assert decode(without) == decode(without) == [("p/load", 1, 3, 0), ("p/load", 2, 4, 0)]
    assert decode.counts == {"absent": 2}


def test_members_of_an_object_are_streams_of_their_own() -> None:
    fields = {"stream": "{m}/{_field}", "value": "values.*"}
    decode = Decoder("json", fields)
    good = packed({"m": "p", "ts": 1, "values": {"temp": 1, "load": None}})
    odd = packed({"m": "p", "ts": 2, "values": {"temp": 2, "state": "on", "ok": True}})
    bad = [packed({"m": "p", "ts": 2, "values": values}) for values in ({}, {"state": "on"}, [1], None)]
    for _ in range(2):
        assert decode(good, odd, *bad, packed({"m": "p", "ts": 3})) == [
            ("p/temp", 1, 1, 0), ("p/load", 1, None, 0), ("p/temp", 2, 2, 1),
        ]  # fmt: skip
        assert decode.bad == [(3, "missing_value"), (4, "wrong_type"), (5, "missing_value"), (6, "missing_value")]
    arrays = packed({"m": "p", "ts": [1, 2], "values": {"temp": [1, 2], "load": [3, 4]}})
    for format, payload in {"columns": arrays, "msgpack": msgspec.msgpack.encode(json.loads(arrays))}.items():
        decode = Decoder(format, fields)  # type: ignore[arg-type]
        want = [("p/temp", 1, 1, 0), ("p/temp", 2, 2, 0), ("p/load", 1, 3, 0), ("p/load", 2, 4, 0)]
        assert decode(payload) == decode(payload) == want


def test_a_star_alone_takes_all_numbers_that_nothing_else_uses() -> None:
    fields = {"stream": "{m}/{_field}", "value": "*"}
    columns = {"m": ["p", "q"], "ts": [1, 2], "temp": [1.0, 2.0], "state": ["on", "off"], "load": [3, 4]}
    want = [("p/temp", 1, 1, 0), ("p/load", 1, 3, 0), ("q/temp", 2, 2, 0), ("q/load", 2, 4, 0)]
    objects = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    ways: dict[Format, bytes] = {"json": packed(objects), "arrow": arrow(**columns), "csv": as_csv(columns)}
    for format, payload in ways.items():
        decode = Decoder(format, fields)
        assert decode(payload) == decode(payload) == want


def test_elements_of_a_list_are_readings_and_share_what_stands_beside_it() -> None:
    fields = {"stream": "{m}/{readings[].sensor}", "time": "readings[].at", "value": "readings[].v.now"}
    fields["labels"] = {"site": "{plant.site}"}  # type: ignore[assignment]
    message = {
        "m": "p",
        "plant": {"site": "x"},
        "readings": [{"sensor": "a", "at": 1, "v": {"now": 1.5}}, {"sensor": "b", "at": 2, "v": {"now": None}}],
    }
    for format, write in (("json", packed), ("msgpack", msgspec.msgpack.encode)):
        decode = Decoder(format, fields)  # type: ignore[arg-type]
        broken = {**message, "readings": [{"sensor": "a", "at": 1, "v": {"now": 2}}, {"sensor": "b", "at": 2, "v": 3}]}
        for _ in range(2):
            found = decode(write(message), write(broken), write({**message, "readings": 7}), write({"m": "p"}))
            assert found == [("p/a", 1, 1.5, 0), ("p/b", 2, None, 0)]
            assert decode.bad == [(1, "missing_value"), (2, "wrong_type"), (3, "missing_value")]
        assert decode.table.labels == [{"site": "x"}, {"site": "x"}]
    at_the_top = Decoder("json", {"stream": "{[].s}/{_field}", "time": "[].ts", "value": ["[].a", "[].b"]})
    assert at_the_top(packed([{"s": "x", "ts": 1, "a": 1, "b": 2}])) == [("x/a", 1, 1, 0), ("x/b", 1, 2, 0)]


def test_keys_and_headers_name_the_streams_of_packed_messages() -> None:
    decode = Decoder("columns", {"stream": "{_topic}/{_key}/{_header.unit}/{s}"})
    message = packed({"s": ["a", "b"], "ts": 1, "value": [1, 2]})
    for _ in range(2):
        found = decode(message, message, keys=[b"k", None], headers=[[("unit", b"C")]] * 2, topic="t")
        assert [name for name, *_ in found] == ["t/k/C/a", "t/k/C/b"]
        assert decode.bad == [(1, "missing_stream")]


def test_arrow_times_carry_their_own_unit_and_zone() -> None:
    when = datetime(2024, 7, 1, 10, tzinfo=UTC)
    fields = {"stream": "s"}
    for kind in ("ms", "ns", "us"):
        column = pa.array([when], pa.timestamp(kind, "UTC"))
        decode = Decoder("arrow", fields, "s")
        assert decode(arrow(s=["x"], ts=column, value=[1.0]))[0][1] == when.timestamp() * 1000
    naive = pa.array([when.replace(tzinfo=None)], pa.timestamp("ms"))
    decode = Decoder("arrow", fields, "s", zone="Europe/Berlin")
    assert decode(arrow(s=["x"], ts=naive, value=[1.0]))[0][1] == (when.timestamp() - 7200) * 1000
    text = Decoder("arrow", fields, "rfc3339")
    assert text(arrow(s=["x"], ts=["2024-07-01T12:00:00+02:00"], value=[1.0]))[0][1] == when.timestamp() * 1000
    stamp = msgspec.msgpack.encode({"s": "x", "ts": when, "value": 1})
    assert Decoder("msgpack", fields, "s")(stamp)[0][1] == when.timestamp() * 1000


def test_arrow_columns_of_many_kinds_are_numbers_and_names() -> None:
    decode = Decoder("arrow", {"stream": "{at.s}/{n}", "value": "v"})
    columns: list[Any] = [
        pa.array([1, None], pa.int16()), pa.array([1.0, None], pa.float32()), pa.array(["1", "NaN"]),
        pa.array([1, None], pa.uint64()), pa.array([Decimal("1.00"), None]),
        pa.array([1.0, None], pa.float16()), pa.array(["1", None]).dictionary_encode(),
    ]  # fmt: skip
    for v in columns:
        message = arrow(at=[{"s": "x"}, {"s": "y"}], n=pa.array([1, 2], pa.int8()), ts=[1, 2], v=v)
        assert decode(message) == decode(message) == [("x/1", 1, 1, 0), ("y/2", 2, None, 0)]
    for v in (pa.array([True, False]), pa.array([[1], [2]]), pa.array([datetime.now(UTC)] * 2)):
        assert decode(arrow(at=[{"s": "x"}] * 2, n=[1, 1], ts=[1, 2], v=v)) == [] and decode.bad == [(0, "wrong_type")]
    assert decode(arrow(at=[{"s": "x"}] * 2, n=[1, 1], ts=pa.array([1, None]), v=[1, 1])) == []
    assert decode.bad == [(0, "missing_time")]


def test_csv_with_a_configured_header_quotes_and_gaps() -> None:
    decode = Decoder("csv", {"stream": "s"}, header=["ts", "s", "value"])
    message = b'\xef\xbb\xbf1,"a,\n""b""",2.5\n\n2,c,NA\n3,c,\n'
    assert decode(message.replace(b'\n""', b'""'))[1:] == [("c", 2, None, 0), ("c", 3, None, 0)]
    headed = Decoder("csv", {"stream": "s"})
    assert headed(b"s,ts,value\nx,1,5", b"value;ts\n1;2", b"ts,value,s\n6,7,x") == [("x", 1, 5, 0), ("x", 6, 7, 2)]
    assert headed.bad == [(1, "missing_value")]
    with pytest.raises(ValueError, match="deeper"):
        Decoder("csv", {"stream": "a.b"})
    with pytest.raises(ValueError, match="list"):
        Decoder("arrow", {"stream": "a[0]"})


GOOD: dict[Format, bytes] = {
    "json": packed({"stream": "s", "ts": 1, "value": 1}),
    "columns": packed({"stream": "s", "ts": [1], "value": [1]}),
    "msgpack": msgspec.msgpack.encode({"stream": "s", "ts": [1], "value": [1]}),
    "arrow": arrow(stream=["s"], ts=[1], value=[1.0]),
    "csv": b"stream,ts,value\ns,1,1",
}
SAME = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, np.int32)), ["s"])
BOMB = arrow(compression="zstd", chunk=1 << 30, stream=SAME, ts=np.ones(3_000_000), value=np.ones(3_000_000))
NOTHING = pa.Array.from_buffers(pa.null(), 1 << 30, [None])  # a billion nulls in no bytes at all
NULLS = arrow(chunk=1 << 30, stream=NOTHING, ts=NOTHING, value=NOTHING)
BAD: list[tuple[Format, bytes | None, str]] = [
    *((format, None, "empty") for format in GOOD),
    *((format, b"", "empty") for format in GOOD),
    *((format, b"\xff\xfe\x00junk", "malformed") for format in ("columns", "arrow", "csv")),
    *((format, GOOD[format][:-9], "malformed") for format in ("columns", "msgpack")),
    *((format, GOOD[format] + b" " * (1 << 20), "oversize") for format in GOOD),
    ("columns", packed({"stream": "s", "ts": [1, 2], "value": [1]}), "wrong_length"),
    ("columns", packed({"stream": ["s"], "ts": [1, 2], "value": [1, 2]}), "wrong_length"),
    ("columns", packed({"stream": "s", "ts": [1, 2], "value": [1, "x"]}), "wrong_type"),
    ("columns", packed({"stream": "s", "ts": [1, 2], "value": [1, True]}), "wrong_type"),
    ("columns", packed({"stream": "s", "ts": [1, 2], "value": [1, [2]]}), "wrong_type"),
    ("columns", packed({"stream": "s", "ts": [1, -2], "value": [1, 2]}), "bad_time"),
    ("columns", packed({"stream": "s", "ts": [1, None], "value": [1, 2]}), "missing_time"),
    ("columns", packed({"stream": ["s", None], "ts": 1, "value": [1, 2]}), "missing_stream"),
    ("columns", packed({"stream": ["s", ""], "ts": 1, "value": [1, 2]}), "bad_stream"),
    ("columns", packed({"stream": ["s", {}], "ts": 1, "value": [1, 2]}), "wrong_type"),
    ("columns", packed({"stream": "s", "ts": [1, 2]}), "missing_value"),
    ("columns", packed({"stream": "s", "value": [1, 2]}), "missing_time"),
    ("columns", packed([1, 2]), "not_object"),
    ("columns", b'{"stream":"s","ts":1,"value":' + b"[" * 99_999, "malformed"),
    ("columns", b'{"stream":"s","ts":1,"value":' + b"[" * 5000 + b"]" * 5000 + b"}", "malformed"),
    ("msgpack", b"\xdd\xff\xff\xff\xff", "malformed"),
    ("msgpack", b"\xc1", "malformed"),
    ("msgpack", b"\x91" * 100_000, "malformed"),
    ("msgpack", b"\x81\x81\x01\x02\x03", "malformed"),
    ("msgpack", msgspec.msgpack.encode(17), "not_object"),
    ("arrow", GOOD["arrow"][:200], "malformed"),
    ("arrow", arrow(s=["s"], ts=[1], value=[1.0]), "missing_stream"),
    ("arrow", arrow(stream=["s", "t"], ts=[1, 2], value=["1", "x"]), "wrong_type"),
    ("arrow", arrow(stream=["s", None], ts=[1, 2], value=[1.0, 2.0]), "missing_stream"),
    ("arrow", BOMB, "oversize"),
    ("arrow", NULLS, "oversize"),
    ("csv", b"stream,ts,value\ns,1\ns,2,3", "wrong_length"),
    ("csv", b"stream,ts,value\ns,1,x", "wrong_type"),
    ("csv", b"stream,ts,value\ns,noon,1", "bad_time"),
    ("csv", b'stream,ts,value\n"s,1,1', "malformed"),
    ("csv", b"\n\n", "empty"),
]


@pytest.mark.parametrize(("format", "payload", "reason"), BAD, ids=[f"{n} {f} {r}" for n, (f, _, r) in enumerate(BAD)])
def test_a_bad_message_costs_itself_only_in_every_format(format: Format, payload: bytes | None, reason: str) -> None:
    assert len(payload or b"") < 2 << 20
    decode = Decoder(format)
    for _ in range(2):
        found = decode(GOOD[format], payload, GOOD[format])
        assert found == [("s", 1, 1, 0), ("s", 1, 1, 2)]
        assert decode.bad == [(1, reason)]
    assert decode.table.names == ["s"], "a message that gives no readings begins no streams"


def test_infinities_are_readings_that_are_not_finite_and_not_missing_ones() -> None:
    inf = math.inf
    message = {"stream": "s", "ts": [1, 2, 3], "value": [inf, -inf, None]}
    raw = json.dumps(message).replace("-Infinity", "-1e999").encode()
    ways: list[tuple[Format, bytes]] = [
        ("columns", json.dumps(message).encode()), ("columns", raw), ("msgpack", msgspec.msgpack.encode(message)),
        ("arrow", arrow(stream=["s"] * 3, ts=[1, 2, 3], value=[inf, -inf, None])),
        ("csv", b"stream,ts,value\ns,1,inf\ns,2,-inf\ns,3,"),
    ]  # fmt: skip
    for format, payload in ways:
        decode = Decoder(format)
        assert decode(payload) == decode(payload) == [("s", 1, inf, 0), ("s", 2, -inf, 0), ("s", 3, None, 0)]


def test_streams_over_the_limit_are_refused_reading_by_reading() -> None:
    decode = Decoder("columns", limit=2)
    message = packed({"stream": list("abcd"), "ts": 1, "value": [1, 2, 3, 4]})
    for _ in range(2):
        assert [name for name, *_ in decode(message)] == ["a", "b", "refused", "refused"]
    assert decode.table.refused >= 4


VALUES = st.one_of(
    st.none(), st.floats(allow_nan=False), st.integers(-(10**20), 10**20), st.booleans(), st.text(max_size=2),
    st.sampled_from(["1.5", "nan", [1], {}]),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 2), st.none(), st.booleans(), st.text(max_size=1))
TIMES = st.one_of(st.integers(-1, 2**45), st.floats(0, 1e12), st.none(), st.booleans(), st.sampled_from(["5", "x"]))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    n = draw(st.integers(1, 20))
    good = {"s": ["a"] * n, "ts": list(range(n)), "value": [0.5] * n}
    for name, kind in (("s", NAMES), ("ts", TIMES), ("value", VALUES)):
        if draw(st.booleans()):
            good[name][draw(st.integers(0, n - 1))] = draw(kind)
    return good


@given(st.lists(tables(), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_arrays_say_what_the_same_readings_say_as_objects(found: list[dict[str, list[Any]]]) -> None:
    """The typed way on columns, and single objects the exact way, which knows nothing of arrays."""
    columns, objects = Decoder("columns", {"stream": "{s}"}), Decoder("json", {"stream": "{s}"})
    for _ in range(2):
        got = columns(*map(packed, found))
        want: list[tuple[str, int, float, int]] = []
        bad = []
        for at, table in enumerate(found):
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            own = objects(*map(packed, rows))
            bad += [(at, objects.bad[0][1])] if objects.bad else []
            want += [] if objects.bad else [(name, ts, value, at) for name, ts, value, _ in own]
        assert got == want and columns.bad == bad


@given(st.sampled_from(list(GOOD)), st.data())
@settings(max_examples=300, deadline=None)
def test_no_bytes_whatever_break_a_codec(format: Format, data: st.DataObject) -> None:
    payload = bytearray(GOOD[format])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    decode = Decoder(format)
    for each in (bytes(payload), bytes(payload[:cut]), data.draw(st.binary(max_size=50))):
        found = decode(GOOD[format], each)
        rows = {row for *_, row in found} | {row for row, _ in decode.bad}
        assert 0 in rows and found[0] == ("s", 1, 1, 0)
        assert len({row for row, _ in decode.bad} & {row for *_, row in found}) == 0


def test_a_claim_of_more_than_there_is_takes_no_memory() -> None:
    body = bytearray(arrow(compression="lz4", chunk=50, stream=["s"] * 50, ts=[1] * 50, value=[1.0] * 50))
    decode = Decoder("arrow")
    assert len(decode(bytes(body))) == 50
    for at in range(0, len(body) - 8, 8):  # each place where an unpacked length may stand
        claimed = bytes(body[:at]) + struct.pack("<q", 1 << 40) + bytes(body[at + 8 :])
        decode(claimed)
        assert decode.bad or np.isfinite(decode.codec.decode([claimed]).value).all()


Write = Callable[[object], bytes]


@pytest.mark.parametrize("fields", [{"value": "a.*", "stream": "s"}, {"value": ["a.*", "b"], "stream": "{_field}"}])
def test_members_that_nothing_tells_apart_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fields\.value"):
        Decoder("json", fields)


@pytest.mark.parametrize("text", ["a[].b[].c", "a[]", "a.*.b", "x.*"])
def test_paths_that_lead_to_more_than_one_place_have_bounds(text: str) -> None:
    with pytest.raises(ValueError, match=r"\[\]|\*"):
        Decoder("json", {"stream": text})
    with pytest.raises(ValueError, match="same list"):
        Decoder("json", {"stream": "a[].s", "value": "b[].v"})
