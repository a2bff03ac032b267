"""JSON messages become readings in columns, and a bad message costs itself only."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import REFUSED, SECOND, StreamTable
from connectors.formats.codec import JsonCodec
from connectors.formats.decoded import Decoded
from connectors.formats.timestamp import BadTime, TimeReader

PLANT = {
    "stream": "{machine}/{sensor}",
    "group": "{machine}",
    "time": "ts",
    "value": "value",
    "labels": {"site": "{site}", "line": "line {no}"},
}


def codec(fields: dict[str, Any] | None = None, unit: str = "ms", zone: str | None = None, **rest: Any) -> JsonCodec:
    return JsonCodec(fields, unit, zone, rest.pop("table", StreamTable()), **rest)


def packed(*documents: object) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def named(table: StreamTable, decoded: Decoded) -> list[tuple[str, int, float, int]]:
    columns = (decoded.stream.tolist(), decoded.ts.tolist(), decoded.value.tolist(), decoded.row.tolist())
    return [(table.names[slot], ts, value, row) for slot, ts, value, row in zip(*columns, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[int, str]]:
    return [(row, reason) for row, reason, _ in decoded.bad]


def test_fields_and_templates_name_streams_groups_and_labels() -> None:
    table = StreamTable()
    messages = packed(
        {"machine": "press1", "sensor": "temp", "ts": 5, "value": 1.5, "site": "berlin", "no": 4},
        {"machine": "press1", "sensor": 7, "ts": 6, "value": 2},
        {"machine": "press1", "sensor": "temp", "ts": 7, "value": 3},
    )
    decoded = codec(PLANT, table=table).decode(messages)
    assert named(table, decoded) == [
        ("press1/temp", 5_000_000, 1.5, 0),
        ("press1/7", 6_000_000, 2.0, 1),
        ("press1/temp", 7_000_000, 3.0, 2),
    ]
    assert table.groups == ["press1", "press1"]
    assert table.labels == [{"site": "berlin", "line": "line 4"}, {}]
    assert decoded.stream.dtype == decoded.row.dtype == np.int32


def test_without_fields_the_names_are_stream_group_ts_and_value() -> None:
    table = StreamTable()
    messages = packed(
        {"stream": "a/b/c", "ts": 1, "value": 1},
        {"stream": "x", "ts": 1, "value": 1},
        {"stream": "y/z", "group": "g", "ts": 1, "value": 1},
    )
    assert len(codec(table=table).decode(messages).ts) == 3
    assert table.groups == ["a/b", "x", "g"]


def test_one_message_may_carry_several_values() -> None:
    table = StreamTable()
    several = codec({"stream": "{machine}/{_field}", "value": ["temp", "load"]}, table=table)
    messages = packed(
        {"machine": "m", "ts": 1, "temp": 20.5, "load": None},
        {"machine": "m", "ts": 2, "load": 0.5},
        {"machine": "m", "ts": 3},
        {"machine": "m", "ts": 4, "temp": 1, "load": "x"},
    )
    for _ in range(2):  # new streams, then known ones
        decoded = several.decode(messages)
        found = named(table, decoded)
        assert [(name, ts // 1_000_000, row) for name, ts, _, row in found] == [
            ("m/temp", 1, 0),
            ("m/load", 1, 0),
            ("m/load", 2, 1),
        ]
        assert np.array_equal(decoded.value, [20.5, np.nan, 0.5], equal_nan=True)
        assert reasons(decoded) == [(2, "missing_value"), (3, "wrong_type")] and decoded.counts == {"absent": 1}


def test_paths_lead_into_objects_and_lists() -> None:
    table = StreamTable()
    fields = {"stream": '{meta.ids[1]}/{["odd.name"]}', "time": "meta.at", "value": "data[0].v"}
    good = {"meta": {"ids": ["x", "y"], "at": 3}, "odd.name": "t", "data": [{"v": 4}]}
    short = {"meta": {"ids": ["x"], "at": 3}, "odd.name": "t", "data": [{"v": 4}]}
    decoded = codec(fields, table=table).decode(packed(good, short, {**good, "data": {}}))
    assert named(table, decoded) == [("y/t", 3_000_000, 4.0, 0)]
    assert reasons(decoded) == [(1, "missing_stream"), (2, "missing_value")]


def test_keys_headers_and_topics_can_name_streams() -> None:
    table = StreamTable()
    from_outside = codec({"stream": "{_topic}/{_key}/{_header.unit}", "labels": {"via": "{_key}"}}, table=table)
    messages = packed(*[{"ts": 1, "value": 1}] * 4)
    keys = [b"press1", None, b"\xff", b"press1"]
    headers = [[("unit", "°C".encode())], [("unit", b"x")], [("unit", b"x")], [("other", b"x")]]
    for topic in ("plant", "yard"):
        decoded = from_outside.decode(messages, keys, headers, topic)
        assert named(table, decoded) == [(f"{topic}/press1/°C", 1_000_000, 1.0, 0)]
        assert reasons(decoded) == [(1, "missing_stream"), (2, "bad_stream"), (3, "missing_stream")]
    assert table.labels[0] == {"via": "press1"}


def test_a_missing_value_is_a_reading_and_a_missing_field_is_not() -> None:
    base = {"stream": "s", "ts": 1}
    messages = [
        *packed(*({**base, "value": value} for value in (None, "NaN", "", "12.5", " 3 ", "-1e3"))),
        b'{"stream": "s", "ts": 1, "value": NaN}',
        b'{"stream": "s", "ts": 1, "value": -Infinity}',
        b'{"stream": "s", "ts": 1, "value": 1e999}',
        *packed(base, {"ts": 1, "value": 1}, {"stream": "s", "value": 1}, {"stream": "s", "ts": None, "value": 1}),
    ]
    decoded = codec().decode(messages)
    nan, inf = np.nan, np.inf  # what is infinite is counted as such, by the windows
    assert np.array_equal(decoded.value, [nan, nan, nan, 12.5, 3, -1000, nan, -inf, inf], equal_nan=True)
    assert reasons(decoded) == [
        (9, "missing_value"),
        (10, "missing_stream"),
        (11, "missing_time"),
        (12, "missing_time"),
    ]


BAD = [
    (b"", "empty"),
    (None, "empty"),
    (b" \n", "empty"),
    (b"{", "malformed"),
    (b"\xff\xfe{}", "malformed"),
    (b"[" * 99_000, "malformed"),
    (b'{"a":' * 19_000, "malformed"),
    (b"[1, 2]", "not_object"),
    (b"17", "not_object"),
    (b'{"stream":"s","ts":1,"value":true}', "wrong_type"),
    (b'{"stream":"s","ts":1,"value":[1]}', "wrong_type"),
    (b'{"stream":"s","ts":1,"value":"12 C"}', "wrong_type"),
    (b'{"stream":1.5,"ts":1,"value":1}', "wrong_type"),
    (b'{"stream":false,"ts":1,"value":1}', "wrong_type"),
    (b'{"stream":null,"ts":1,"value":1}', "missing_stream"),
    (b'{"stream":"","ts":1,"value":1}', "bad_stream"),
    (b'{"stream":"a\\u0000b","ts":1,"value":1}', "bad_stream"),
    (b'{"stream":"\\ud800","ts":1,"value":1}', "bad_stream"),
    (b'{"stream":"' + b"x" * 513 + b'","ts":1,"value":1}', "bad_stream"),
    (b'{"stream":"s","ts":-1,"value":1}', "bad_time"),
    (b'{"stream":"s","ts":99999999999999999,"value":1}', "bad_time"),
    (b'{"stream":"s","ts":1e400,"value":1}', "bad_time"),
    (b'{"stream":"s","ts":true,"value":1}', "bad_time"),
    (b'{"stream":"s","ts":"noon","value":1}', "bad_time"),
    (b'{"stream":"s","ts":1,"value":1,"more":"' + b"x" * 100_000 + b'"}', "oversize"),
]


@pytest.mark.parametrize(("payload", "reason"), BAD, ids=[f"{n} {reason}" for n, (_, reason) in enumerate(BAD)])
def test_a_bad_message_costs_itself_only(payload: bytes | None, reason: str) -> None:
    good = b'{"stream":"s","ts":1000,"value":1}'
    decoder = codec(message_bytes=100_000)
    for _ in range(2):
        decoded = decoder.decode([good, payload, good])
        assert decoded.row.tolist() == [0, 2] and decoded.ts.tolist() == [SECOND, SECOND]
        assert reasons(decoded) == [(1, reason)] and decoded.bad[0][2]


def test_streams_over_the_limit_are_refused_and_released_slots_are_not_mixed_up() -> None:
    table = StreamTable(limit=2)
    decoder = codec(table=table)
    a, b, c = packed(*({"stream": name, "ts": 1, "value": 1} for name in "abc"))
    assert decoder.decode([a, b, c]).stream.tolist() == [0, 1, REFUSED]
    table.release([0])
    assert decoder.decode([c, b, a]).stream.tolist() == [0, 1, REFUSED]
    assert table.names == ["c", "b"] and table.refused == 2


@given(st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=12), max_size=8))
@settings(max_examples=60, deadline=None)
def test_names_stay_right_while_streams_come_go_and_come_back(polls: list[list[tuple[int, int, bool]]]) -> None:
    table = StreamTable(limit=30)
    decoder = codec({"stream": "{a}/{b}", "time": "ts", "value": "value"}, table=table)
    for poll in polls:
        rows = [{"a": f"a{a}", "b": b, "ts": 1, "value": 1} for a, b, _ in poll]
        found = decoder.decode(packed(*rows)).stream.tolist()
        names = [table.names[slot] if slot != REFUSED else None for slot in found]
        assert all(name in (None, f"{row['a']}/{row['b']}") for name, row in zip(names, rows, strict=True))
        assert None not in names or len(table.slot_of) == 30
        table.take_new()
        table.release(sorted({slot for slot, (_, _, ends) in zip(found, poll, strict=True) if ends and slot >= 0}))


def test_the_time_may_be_the_records_own() -> None:
    decoded = codec(unit="record").decode(
        packed(*[{"stream": "s", "value": 1}] * 3), record_ts=np.array([7, -1_000_000, 9])
    )
    assert decoded.ts.tolist() == [7, 9] and reasons(decoded) == [(1, "missing_time")]


@pytest.mark.parametrize(
    ("unit", "zone", "given_time", "ns"),
    [
        ("s", None, 1.25, 1_250_000_000),
        ("s", None, "1700000000.5", 1_700_000_000_500_000_000),
        ("ms", None, "17", 17_000_000),
        ("us", None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        ("ns", None, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        ("rfc3339", None, "1970-01-01T00:00:01.000000002Z", 1_000_000_002),
        ("rfc3339", None, "1970-01-01 01:00:01+01:00", SECOND),
        ("rfc3339", None, "1970-01-02T00:00:00", 86_400 * SECOND),
        ("rfc3339", "Europe/Berlin", "1970-01-01T01:00:01,5", 1_500_000_000),
        ("rfc3339", "Europe/Berlin", "1970-01-01T00:00:01Z", SECOND),
        ("rfc3339", "Europe/Berlin", "2024-10-27T02:30:00", 1_729_989_000 * SECOND),  # shown twice: the first
    ],
)
def test_times_in_every_unit(unit: str, zone: str | None, given_time: object, ns: int) -> None:
    times = [given_time, given_time]
    decoded = codec(unit=unit, zone=zone).decode(packed(*({"stream": "s", "ts": time, "value": 1} for time in times)))
    assert decoded.ts.tolist() == [ns, ns]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30T00:00:00Z",
        "2024-01-01",
        "9999-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "now",
        "",
        "2024-01-01T25:00:00",
        "2024-01-01T00:00:00+25:00",
        "2024-01-01T00:00:00+01:00Z",
        "2024-01-01T00:00:00ZZ",
    ],
)
def test_text_that_is_no_time_of_ours(text: str) -> None:
    reader = TimeReader("rfc3339")
    with pytest.raises(BadTime):
        reader.one(text)
    with pytest.raises(BadTime):
        reader.column([text, "2024-01-01T00:00:00Z"])


@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2262, 3, 31)), min_size=1, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_times_in_columns_are_those_read_singly(days: list[datetime], data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(["s", "ms", "us", "ns", "rfc3339"]))
    since = [day.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) for day in days]
    micros = [(delta.days * 86_400 + delta.seconds) * 10**6 + delta.microseconds for delta in since]
    written: list[object] = {
        "s": [micro / 1e6 for micro in micros],
        "ms": [micro / 1e3 for micro in micros],
        "us": micros,
        "ns": [micro * 1000 for micro in micros],
        "rfc3339": [day.isoformat() + "Z" for day in days],
    }[unit]
    reader = TimeReader(unit)
    singly = [reader.one(value) for value in written]
    assert reader.column(written).tolist() == singly
    near = 2000 if unit in ("s", "ms") else 0  # ns: in the year 2260 a float of seconds holds no more
    assert np.all(np.abs(np.array(singly) - np.array(micros) * 1000) <= near)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["1", "-2.5", "nan", "x", "", "inf", "1e3", [1], {}]),
)
NAMES = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.none(), st.booleans(), st.floats(0, 2))
TIMES = st.one_of(st.integers(-5, 2**62), st.floats(0, 1e13), st.none(), st.sampled_from(["5", "x", 10**30]))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    fields = {"machine": NAMES, "ts": TIMES, "temp": VALUES, "load": VALUES}
    given = draw(st.fixed_dictionaries({}, optional=fields))
    if draw(st.booleans()):  # else hardly any is good
        given = {"machine": "m", "ts": 1, **{name: given[name] for name in ("temp", "load") if name in given}}
    return given


@given(st.lists(documents(), max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_fast_way_says_what_the_exact_way_says(found: list[dict[str, object]], several: bool) -> None:
    def read(prefix: str, payloads: list[bytes]) -> tuple[Any, ...]:
        table = StreamTable()
        names = [f"{prefix}temp", f"{prefix}load"] if several else f"{prefix}temp"
        stream = f"{{{prefix}machine}}" + ("/{_field}" if several else "")
        decoder = codec({"stream": stream, "time": f"{prefix}ts", "value": names}, table=table)
        outcomes = [decoder.decode(payloads) for _ in range(2)]
        readings = [
            [(name.replace("m.", ""), ts, repr(value), row) for name, ts, value, row in named(table, outcome)]
            for outcome in outcomes
        ]
        return readings, [reasons(outcome) for outcome in outcomes], [outcome.counts for outcome in outcomes]

    plain = read("", packed(*found))
    nested = read("m.", packed(*({"m": document} for document in found)))
    assert plain == nested


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"steam": "x"}, "did you mean 'stream'"),
        ({"stream": "{a"}, "expected '}'"),
        ({"stream": "{a!r}"}, "formats"),
        ({"stream": "{a..b}"}, "not a field path"),
        ({"time": "a["}, "not a field path"),
        ({"value": ["a", "b"]}, "_field"),
        ({"value": []}, "fields.value"),
        ({"stream": 3}, "fields.stream"),
        ({"labels": "x"}, "fields.labels"),
    ],
)
def test_fields_that_make_no_sense_are_refused_at_once(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        codec(fields)


def test_units_and_zones_that_do_not_exist_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="time_unit"):
        codec(unit="minutes")
    with pytest.raises(ValueError, match="Europe/Berlin"):
        codec(unit="rfc3339", zone="Berlin")


def test_decoding_plain_messages_is_fast_enough_for_a_poll() -> None:
    named = [(f"m{n % 50}", f"s{n % 20}") for n in range(5000)]
    messages = packed(*({"machine": m, "sensor": s, "ts": 1, "value": 1 / 3} for m, s in named))
    decoder = codec(PLANT)
    decoder.decode(messages)
    took = []
    for _ in range(5):
        began = time.process_time()
        decoder.decode(messages)
        took.append(time.process_time() - began)
    assert min(took) < 0.1  # measured: 3 ms
