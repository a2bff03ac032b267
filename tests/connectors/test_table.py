"""Files of readings: whatever shape they come in, the same columns come out, or a clear error."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import SECOND
from connectors.recordings.table import Labelled, Raster, first_arrival, read
from connectors.source import SourceError

T0 = 1_700_000_000 * SECOND


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def iso(ns: int) -> str:
    return str(np.datetime64(ns, "ns")).replace("T", " ")[:19]


def test_a_wide_file_is_a_group_named_after_it_and_every_numeric_column_a_stream(tmp_path: Path) -> None:
    rows = [f"{iso(T0 + i * SECOND)},{i},{i * 0.5},on,true" for i in range(4)]
    table = read(write(tmp_path, "press1.csv", "when,temp,load,mode,door\n" + "\n".join(rows)))
    assert table.streams == ["press1/temp", "press1/load", "press1/door"]
    assert set(table.groups) == {"press1"}
    assert set(table.rasters) == {Raster(SECOND, 0)}
    np.testing.assert_array_equal(table.value, [0, 0, 1, 1, 0.5, 1, 2, 1, 1, 3, 1.5, 1])
    np.testing.assert_array_equal(table.row, np.repeat(np.arange(4), 3))
    np.testing.assert_array_equal(table.ts, T0 + np.repeat(np.arange(4), 3) * SECOND)
    assert table.arrived is None
    assert table.notes == ("not numeric, ignored: mode",)


def test_an_empty_cell_is_no_reading_and_an_infinite_one_is_counted(tmp_path: Path) -> None:
    table = read(write(tmp_path, "m.csv", "ts,a,b\n1700000000,1,\n1700000001,nan,inf\n1700000002,,3\n"))
    np.testing.assert_array_equal(table.value, [1, 3])
    np.testing.assert_array_equal(table.row, [0, 2])
    assert table.counts == {"not_finite": 1}
    assert table.rows == 3


def test_a_long_file_names_its_streams_groups_and_arrivals(tmp_path: Path) -> None:
    text = "ts,stream,value,group,arrived\n"
    text += "1700000000,b,1,g1,1700000005\n1700000000,a,,g2,1700000006\n1700000001,b,inf,g1,1700000007\n"
    table = read(write(tmp_path, "x.csv", text))
    assert table.streams == ["b", "a"]
    assert table.groups == ["g1", "g2"]
    np.testing.assert_array_equal(table.stream, [0, 1, 0])
    np.testing.assert_array_equal(table.value, [1, np.nan, np.nan])
    assert table.arrived is not None
    np.testing.assert_array_equal(table.arrived - T0, [5 * SECOND, 6 * SECOND, 7 * SECOND])
    assert table.counts == {"not_finite": 1}


def test_a_long_file_without_groups_takes_them_from_the_names(tmp_path: Path) -> None:
    text = '{"ts": 1700000000, "stream": "m1/temp", "value": 1}\n{"ts": 1700000001, "stream": "speed", "value": 2}\n'
    assert read(write(tmp_path, "plant.jsonl", text)).groups == ["m1", "plant"]


@pytest.mark.parametrize(
    "cell",
    [
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        "2023-11-14 23:13:20.000+0100",
        "2023/11/14 22:13:20",
        "1700000000",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
    ],
)
@pytest.mark.parametrize("name", ["timestamp", "unheard_of"])
def test_times_are_understood_in_every_usual_form(tmp_path: Path, cell: str, name: str) -> None:
    assert read(write(tmp_path, "a.csv", f"{name},v\n{cell},1\n")).ts.tolist() == [T0]


def test_a_fraction_is_a_time_only_under_a_telling_name(tmp_path: Path) -> None:
    text = "{},v\n1700000000.1,1\n1700000000.2,1\n1700000000.3,1\n"
    table = read(write(tmp_path, "a.csv", text.format("time")))
    assert table.ts.tolist() == [T0 + 10**8, T0 + 2 * 10**8, T0 + 3 * 10**8]
    assert table.rasters[0].step == 10**8
    with pytest.raises(SourceError, match="no time column"):
        read(write(tmp_path, "b.csv", text.format("level")))


def test_a_date_is_its_midnight_and_fractions_are_kept_to_the_nanosecond(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "date,v\n2023-11-14,1\n2023-11-14T00:00:00.123456789,2\n"))
    midnight = T0 // (86400 * SECOND) * 86400 * SECOND
    assert table.ts.tolist() == [midnight, midnight + 123_456_789]


def test_rows_without_a_time_are_counted_also_where_it_only_looks_like_one(tmp_path: Path) -> None:
    text = "ts,v\n2023-11-14 22:13:20,1\n2023-02-30 00:00:00,2\n,3\nyesterday,4\n2023-11-14 22:13:21,5\n"
    table = read(write(tmp_path, "a.csv", text))
    assert table.value.tolist() == [1, 5]
    assert table.row.tolist() == [0, 4]
    assert table.counts == {"no_time": 3}


def test_an_index_column_does_not_pass_for_time(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "n,bytes,time\n1,1700000009,1700000000\n2,1600000000,1700000001\n"))
    assert table.streams == ["a/n", "a/bytes"]
    assert table.ts[0] == T0


def test_a_file_without_a_header_is_time_and_value(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "1700000000,5\n1700000001,6\n"))
    assert table.streams == ["a/value"]
    assert table.value.tolist() == [5, 6]


def test_numeric_column_names_are_still_names(tmp_path: Path) -> None:
    table = read(write(tmp_path, "la.csv", ",773869,767541\n2012-03-01 00:00:00,64.3,67.6\n"))
    assert table.streams == ["la/773869", "la/767541"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_noticed(tmp_path: Path, delimiter: str) -> None:
    text = "ts,a,b\n1700000000,1.5,2\n".replace(",", delimiter)
    assert read(write(tmp_path, "a.csv", text)).value.tolist() == [1.5, 2]


def test_whole_numbers_that_turn_into_fractions_late_are_no_trouble(tmp_path: Path) -> None:
    cells = ["1"] * 400_000 + ["1.5", "x"]  # several megabytes: past the first block
    text = "ts,v\n" + "".join(f"{1_700_000_000 + i},{cell}\n" for i, cell in enumerate(cells))
    table = read(write(tmp_path, "a.csv", text))
    assert table.value[-1] == 1.5
    assert table.counts == {"not_a_number": 1}


def test_rows_with_too_many_cells_are_passed_over_and_counted(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "ts,v\n1700000000,1\n1700000001,2,9\n1700000002,3\n"))
    assert table.value.tolist() == [1, 3]
    assert table.counts == {"undecodable": 1}


def test_json_lines_with_odd_lines_give_the_others(tmp_path: Path) -> None:
    text = '{"ts": 1700000000, "v": 1}\n{"ts": 1700000001, "v": "high"}\nnot json\n{"ts": 1700000002, "v": 2.5}\n'
    table = read(write(tmp_path, "a.jsonl", text))
    assert table.value.tolist() == [1, 2.5]
    assert table.counts == {"undecodable": 1, "not_a_number": 1}


def test_a_json_array_is_read_like_lines(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.json", '[{"t": 1700000000, "v": 1}, {"t": 1700000001, "v": 2}]'))
    assert table.value.tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_file_is_the_same_file(tmp_path: Path, kind: str) -> None:
    plain = b"ts,v\n" + b"".join(b"%d,%d\n" % (1_700_000_000 + i, i) for i in range(1000))
    with pa.output_stream(str(tmp_path / "a.csv.gz"), compression=kind) as file:
        file.write(plain)
    table = read(tmp_path / "a.csv.gz")
    assert table.streams == ["a/v"]
    assert table.value.tolist() == list(range(1000))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_text_may_come_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = "ts,température,ort\n1700000000,1,Köln\n"
    table = read(write(tmp_path, "a.csv", text.encode(encoding)))
    assert table.streams == ["a/température"]
    assert table.ts.tolist() == [T0]


def test_parquet_of_every_numeric_kind_is_read(tmp_path: Path) -> None:
    columns = {
        "timestamp": pa.array([T0 // 10**6, T0 // 10**6 + 60_000], pa.timestamp("ms")),
        "phase": pa.array([0, 1], pa.int8()),
        "label": pa.array([0, 1], pa.int8()),
        "f32": pa.array([1.5, None], pa.float32()),
        "u8": pa.array([1, 2], pa.uint8()),
        "flag": pa.array([True, False]),
        "dec": pa.array([1, 2]).cast(pa.decimal128(19, 0)),
        "text": pa.array(["a", "b"]),
        "empty": pa.nulls(2),
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    table = read(tmp_path / "p.parquet")
    assert table.streams == ["p/f32", "p/u8", "p/flag", "p/dec", "p/empty"]
    assert table.value.tolist() == [1.5, 1, 1, 1, 2, 0, 2]
    assert table.scored_from == T0 + 60 * SECOND
    assert table.labelled == (Labelled("p", T0 + 60 * SECOND, T0 + 60 * SECOND),)
    assert table.rasters[0] == Raster(60 * SECOND, T0 % (60 * SECOND))


def test_labelled_stretches_are_of_the_group_when_wide_and_of_the_stream_when_long(tmp_path: Path) -> None:
    wide = "ts,v,label\n" + "".join(f"{1_700_000_000 + i},0,{int(i in (1, 2, 5))}\n" for i in range(6))
    seconds = [(s - T0) // SECOND for s in (T0 + SECOND, T0 + 2 * SECOND, T0 + 5 * SECOND)]
    found = read(write(tmp_path, "w.csv", wide)).labelled
    assert [(x.name, (x.start - T0) // SECOND, (x.end - T0) // SECOND) for x in found] == [
        ("w", seconds[0], seconds[1]),
        ("w", seconds[2], seconds[2]),
    ]
    long = "ts,stream,value,label\n" + "".join(
        f"{1_700_000_000 + i},{name},0,{int(name == 'b' and i > 3)}\n" for i in range(6) for name in "ab"
    )
    found = read(write(tmp_path, "l.csv", long)).labelled
    assert found == (Labelled("b", T0 + 4 * SECOND, T0 + 5 * SECOND),)


def test_rows_out_of_order_keep_the_order_of_the_file(tmp_path: Path) -> None:
    table = read(write(tmp_path, "a.csv", "ts,v\n1700000005,1\n1700000003,2\n1700000004,3\n"))
    assert table.value.tolist() == [1, 2, 3]
    assert table.rasters[0].step == SECOND


def test_irregular_times_have_no_step_and_a_third_of_equal_ones_is_enough(tmp_path: Path) -> None:
    uneven = "ts,v\n" + "".join(f"{1_700_000_000 + i * i},0\n" for i in range(20))
    assert read(write(tmp_path, "a.csv", uneven)).rasters[0] == Raster(0, 0)
    gaps = [300, 300, 300, 300, 100, 500, 700, 900, 1100, 1300]
    times = 1_700_000_000 + np.cumsum(gaps)
    some = "ts,v\n" + "".join(f"{t},0\n" for t in [1_700_000_000, *times])
    assert read(write(tmp_path, "b.csv", some)).rasters[0].step == 300 * SECOND


def test_each_stream_of_a_long_file_has_its_own_raster(tmp_path: Path) -> None:
    rows = [(T0 // SECOND + i, "fast") for i in range(30)] + [(T0 // SECOND + 3 + 10 * i, "slow") for i in range(5)]
    text = "ts,stream,value\n" + "".join(f"{t},{name},0\n" for t, name in sorted(rows))
    assert read(write(tmp_path, "a.csv", text)).rasters == [Raster(SECOND, 0), Raster(10 * SECOND, 3 * SECOND)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b" \n\n", "empty"),
        ("a.csv", b"ts,v\n", "no rows"),
        ("a.csv", b"a,b\n1,2\n", "no time column among a, b"),
        ("a.csv", b"ts,v\n1700000000,hot\n", "no numeric column"),
        ("a.csv", b"ts,v,v\n1700000000,1,2\n", "more than one column named 'v'"),
        ("a.csv", b"ts,v\n1700000000,\n", "no readings"),
        ("a.csv", b"ts,stream,value\n1700000000,a,hot\n", "'value' is not numeric"),
        ("a.csv", b"\x00\x01\x02\x03\x04", "neither text nor Parquet"),
        ("a.csv.gz", gzip.compress(b"ts,v\n" + b"1700000000,1\n" * 5000, mtime=0)[:60], "can't be read"),
        ("a.parquet", b"PAR1 and no more", "can't be read"),
        ("a.jsonl", b"[1, 2", "can't be read"),
        ("a.jsonl", b'{"a": 1}\n', "no time column"),
    ],
)
def test_what_can_not_be_read_is_named_with_its_trouble(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(SourceError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(SourceError, match=str(path)):
            read(path)


cells = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.lists(cells, min_size=3, max_size=3)), min_size=1, max_size=20))
def test_wide_and_long_csv_json_and_parquet_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, list[float | None]]]
) -> None:
    readings = [(ts, s, v) for ts, values in rows for s, v in zip("abc", values, strict=True) if v is not None]
    if not readings:
        return
    folder = tmp_path_factory.mktemp("same")
    ts = pa.array([T0 + t * 10**6 for t, _ in rows]).cast(pa.timestamp("ns", "UTC"))
    wide = pa.table({"ts": ts, **{s: pa.array([v[i] for _, v in rows], pa.float64()) for i, s in enumerate("abc")}})
    pq.write_table(wide, folder / "x.parquet")
    lines = [",".join([str(T0 + t * 10**6), *("" if v is None else repr(v) for v in values)]) for t, values in rows]
    write(folder, "x.csv", "ts,a,b,c\n" + "\n".join(lines))
    long = [f'{{"ts": {T0 + t * 10**6}, "stream": "x/{s}", "value": {v!r}}}' for t, s, v in readings]
    write(folder, "x.jsonl", "\n".join(long))
    expected = [(f"x/{s}", T0 + t * 10**6, v) for t, s, v in readings]
    for name in ("x.parquet", "x.csv", "x.jsonl"):
        table = read(folder / name)
        got = zip([table.streams[i] for i in table.stream], table.ts.tolist(), table.value.tolist(), strict=True)
        assert list(got) == expected
        if name != "x.jsonl":  # the first row of a wide file may be empty
            assert first_arrival(folder / name) == T0 + rows[0][0] * 10**6
