"""A growing, rotating file and standard input: every line once, none lost, none twice."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import SECOND, Batch, PartitionTable, StreamTable, concat
from connectors.clock import ReplayClock, WallClock
from connectors.file import GENERATION_BITS, FileSource, StdinSource
from connectors.formats.codec import JsonCodec
from connectors.formats.lines import CsvRows, Lines
from connectors.source import SourceError

T0 = 1_700_000_000
START = T0 * SECOND


def codec(table: StreamTable | None = None) -> JsonCodec:
    return JsonCodec(None, "s", None, StreamTable() if table is None else table)


def row(i: int) -> str:
    return json.dumps({"stream": "m1/temp", "ts": T0 + i, "value": i}) + "\n"


def rows(start: int, end: int) -> str:
    return "".join(row(i) for i in range(start, end))


def follow(path: Path, positions: dict[str, int] | None = None, **more: bool) -> FileSource:
    source = FileSource(path, codec().decode, PartitionTable(), ReplayClock(START), **more)
    if positions:
        source.seek(positions)
    return source


def poll(source: FileSource) -> Batch:
    """One look, and time for a second one."""
    return source.poll(source._clock.now() + 100_000_000)


def values(*batches: Batch) -> list[float]:
    return concat(batches).value.tolist()


def test_lines_are_brought_as_the_file_grows_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 2) + row(2)[:10])
    source = follow(path)
    first = poll(source)
    assert values(first) == [0, 1]
    assert first.at_end == (0,)
    with path.open("a") as file:
        file.write(row(2)[10:] + row(3))
    assert values(poll(source)) == [2, 3]
    empty = poll(source)
    assert (len(empty), empty.at_end, empty.positions) == (0, (0,), {})


def test_what_stood_there_before_heed_was_up_is_backlog_and_the_rest_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 2))
    source = follow(path)
    before = poll(source)
    with path.open("a") as file:
        file.write(row(2))
    after = poll(source)
    assert before.backlog is not None
    assert before.backlog.all()
    assert after.backlog is None or not after.backlog.any()


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 2))
    source = follow(path)
    batches = [poll(source)]
    with path.open("a") as file:
        file.write(rows(2, 4))
    path.rename(tmp_path / "a.jsonl.1")
    path.write_text(rows(4, 6))
    batches += [poll(source) for _ in range(3)]
    assert values(*batches) == [0, 1, 2, 3, 4, 5]
    offsets = concat(batches).offset
    assert (np.diff(offsets) > 0).all()
    assert offsets[-1] >> GENERATION_BITS == 1


def test_a_file_that_was_cut_short_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 3))
    source = follow(path)
    batches = [poll(source)]
    path.write_text(row(3))
    batches += [poll(source) for _ in range(2)]
    assert values(*batches) == [0, 1, 2, 3]


def test_a_file_that_is_not_there_yet_is_waited_for_when_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    source = follow(path)
    assert poll(source).at_end == (0,)
    path.write_text(row(0))
    assert values(poll(source)) == [0]
    with pytest.raises(SourceError, match="no such file"):
        follow(tmp_path / "b.jsonl", follow=False)


def test_without_following_the_end_is_the_end_even_without_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 3).rstrip("\n"))
    source = follow(path, follow=False)
    batch = poll(source)
    assert (values(batch), batch.ended, batch.at_end) == ([0, 1, 2], (0,), ())
    assert source.done
    assert len(poll(source)) == 0


def test_a_restart_reads_on_where_it_left_also_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(rows(0, 2))
    first = follow(path)
    positions = {str(path): poll(first).positions[0]}
    with path.open("a") as file:
        file.write(row(2))
    assert values(poll(follow(path, positions))) == [2]
    path.unlink()
    path.write_text(row(9))
    batch = poll(follow(path, positions))
    assert values(batch) == [9]
    assert batch.offset[0] > positions[str(path)]


def test_undecodable_lines_are_counted_and_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row(0) + "no json\n\n" + row(1) + '{"value": 1}\n')
    source = follow(path)
    batch = poll(source)
    assert values(batch) == [0, 1]
    assert batch.counts["records"] == 4
    assert batch.counts["undecodable"] == 2
    assert [bad.offset for bad in source.take_bad()] == [len(row(0)), len(row(0)) + 9 + len(row(1))]
    assert source.take_bad() == []


def test_csv_lines_are_named_by_the_header_also_after_a_restart_and_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    header = "ts,stream,value\n"
    path.write_text(header + f"{T0},a,1\n{T0 + 1},a,\n")
    source = follow(path, csv=True)
    first = poll(source)
    np.testing.assert_array_equal(first.value, [1, np.nan])
    with path.open("a") as file:
        file.write(f"{T0 + 2},a,3\nodd,row\n")
    after = poll(follow(path, {str(path): first.positions[0]}, csv=True))
    assert values(after) == [3]
    assert after.counts["undecodable"] == 1
    path.rename(tmp_path / "a.csv.1")
    path.write_text(header + f"{T0 + 3},a,4\n")
    assert values(*[poll(source) for _ in range(3)]) == [3, 4]


def test_arrival_lies_between_the_last_look_and_now(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row(0))
    written = path.stat().st_mtime_ns
    clock = ReplayClock(written + 60 * SECOND)
    source = FileSource(path, codec().decode, PartitionTable(), clock)
    assert source.poll(clock.now()).arrived.tolist() == [written]
    with path.open("a") as file:
        file.write(row(1))
    os.utime(path, ns=(written, written))
    assert source.poll(clock.now()).arrived.tolist() == [clock.now()]


@contextmanager
def pipe() -> Iterator[tuple[StdinSource, int]]:
    read_end, write_end = os.pipe()
    source = StdinSource(codec().decode, PartitionTable(), WallClock(), read_end)
    try:
        yield source, write_end
    finally:
        source.close()
        os.close(read_end)


def soon() -> int:
    return time.time_ns() + 2 * SECOND


def test_a_pipe_brings_its_lines_and_ends(tmp_path: Path) -> None:
    with pipe() as (source, write_end):
        os.write(write_end, (rows(0, 2) + row(2)[:7]).encode())
        first = source.poll(soon())
        os.write(write_end, row(2)[7:].encode() + row(3).rstrip().encode())
        os.close(write_end)
        rest = []
        while not source.done:
            rest.append(source.poll(soon()))
        assert values(first, *rest) == [0, 1, 2, 3]
        assert rest[-1].ended == (0,)
        assert len(source.poll(soon())) == 0


def test_a_quiet_pipe_lets_time_pass_and_is_at_its_end() -> None:
    with pipe() as (source, write_end):
        begin = time.time_ns()
        batch = source.poll(begin + 50_000_000)
        assert 0 <= time.time_ns() - begin - 50_000_000 < SECOND
        assert (len(batch), batch.at_end) == (0, (0,))
        os.close(write_end)


def test_whoever_writes_faster_than_heed_reads_has_to_wait_and_nothing_is_lost() -> None:
    with pipe() as (source, write_end):
        total = 0
        for _ in range(40):
            os.write(write_end, rows(0, 200).encode())
            total += len(source.poll(soon()))
        os.close(write_end)
        while not source.done:
            total += len(source.poll(soon()))
        assert total == 40 * 200


def test_offsets_of_a_pipe_go_on_from_the_stored_position() -> None:
    with pipe() as (source, write_end):
        source.seek({"stdin": 5000})
        os.write(write_end, row(0).encode())
        batch = source.poll(soon())
        assert batch.offset.tolist() == [5000]
        assert batch.positions == {0: 5000 + len(row(0))}
        os.close(write_end)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b), max_size=8),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_however_the_bytes_are_cut_the_lines_and_offsets_are_the_same(texts: list[bytes], places: list[int]) -> None:
    data = b"\n".join(texts)
    lines = Lines()
    found = [line for piece in cut(data, places) for line in lines.feed(piece)] + lines.finish()
    assert [line.text for line in found] == [text for text in texts if text.strip()]
    assert all(data[line.offset : line.offset + len(line.text)] == line.text for line in found)
    assert lines.at == len(data)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3000), max_size=6))
def test_an_endless_line_is_given_once_cut_short_and_the_next_is_whole(places: list[int]) -> None:
    data = b"first\n" + b"x" * 2000 + b"\nlast\n"
    lines = Lines(limit=100)
    found = [line.text for piece in cut(data, places) for line in lines.feed(piece)]
    assert (found[0], found[-1], len(found)) == (b"first", b"last", 3)
    assert lines.at == len(data)


def test_cells_of_csv_keep_their_meaning() -> None:
    rows = CsvRows()
    rows.header("\ufeffid, value ,note".encode())
    (found,) = rows.objects([b'007,-1.5e3,"a, b"'])
    assert json.loads(found) == {"id": "007", "value": -1500.0, "note": "a, b"}
    assert json.loads(rows.objects([b"1,NaN,x"])[0]) == {"id": 1, "value": None, "note": "x"}
