"""Recordings: what was written turn by turn comes back turn by turn."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import REFUSED, SECOND, Batch, PartitionTable, StreamTable, empty
from connectors.clock import ReplayClock
from connectors.recordings import recording
from connectors.recordings.recording import RecordingSource, RecordingWriter, heading
from connectors.recordings.table import read
from connectors.sink import SinkError
from connectors.source import SourceError

T0 = 1_700_000_000 * SECOND


def a_batch(streams: list[int], at: int, partition: int = 0, **more: object) -> Batch:
    n = len(streams)
    ts = np.full(n, T0 + at * SECOND)
    values = np.arange(n, dtype=float) + at
    number = np.full(n, partition, np.int32)
    plain = Batch(np.array(streams, np.int32), ts, ts + 5, values, number, np.arange(n) + at)
    return replace(plain, **more)  # type: ignore[arg-type]


def tables() -> tuple[StreamTable, PartitionTable]:
    streams, partitions = StreamTable(), PartitionTable()
    for name in ("m1/temp", "m1/load", "speed"):
        streams.slot(name, name.split("/")[0], {"site": "x"}, SECOND, 7)
    partitions.number("topic/0")
    partitions.number("topic/1")
    return streams, partitions


def replayed(path: Path) -> tuple[list[tuple[int, Batch, tuple[int, ...]]], StreamTable, PartitionTable]:
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock()
    source, turns = RecordingSource(path, streams, partitions, clock), []
    while not source.done:
        batch = source.poll(0)
        turns.append((clock.now(), batch, tuple(source.times)))
    return turns, streams, partitions


def same(a: Batch, b: Batch) -> None:
    for column in ("stream", "ts", "arrived", "value", "partition", "offset"):
        got, expected = getattr(a, column), getattr(b, column)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    np.testing.assert_array_equal(_flags(a), _flags(b))
    assert (a.positions, a.at_end, a.ended, a.counts, a.held) == (b.positions, b.at_end, b.ended, b.counts, b.held)


def _flags(batch: Batch) -> np.ndarray:
    return np.zeros(len(batch), bool) if batch.backlog is None else batch.backlog


def test_turns_come_back_with_their_time_their_ends_and_what_the_clock_showed(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet", "windows: {}", "sha256:1")
    told = [
        (T0 + 9, a_batch([0, 2], 1, positions={0: 3}, counts={"records": 2}, backlog=np.array([True, False]))),
        (T0 + 10, replace(empty(at_end=(1,)), held=(0,))),
        (T0 + 10, a_batch([2, 1, 0], 5, 1, at_end=(0,), ended=(1,))),
    ]
    for i, (now, batch) in enumerate(told):
        writer.turn(now, batch, streams, partitions)
        for later in range(i):
            writer.time(now + 5 + later)
    writer.close()
    writer.close()
    turns, again, numbers = replayed(tmp_path / "r.parquet")
    assert [turn[0] for turn in turns] == [now for now, _ in told]
    assert [turn[2] for turn in turns] == [(), (T0 + 15,), (T0 + 15, T0 + 16)]
    for (_, got, _), (_, expected) in zip(turns, told, strict=True):
        same(got, expected)
    assert (again.names, again.groups, again.labels) == (streams.names, streams.groups, streams.labels)
    assert (again.step, again.origin, numbers.names) == (streams.step, streams.origin, partitions.names)


def test_the_heading_tells_configuration_and_model_and_other_files_have_none(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet", "windows: {}", "sha256:1")
    writer.cost((0.001, 0.0002))
    writer.turn(T0, a_batch([0], 0), streams, partitions)
    writer.close()
    found = heading(tmp_path / "r.parquet")
    assert found is not None
    assert (found.config, found.model, found.version) == ("windows: {}", "sha256:1", recording.VERSION)
    assert found.cost == (0.001, 0.0002)
    (tmp_path / "a.csv").write_text("ts,v\n1,2\n")
    assert heading(tmp_path / "a.csv") is None
    with pytest.raises(SourceError, match="no turns"):
        RecordingSource(tmp_path / "a.csv", StreamTable(), PartitionTable(), ReplayClock())


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    writer.turn(T0, a_batch([0], 0), streams, partitions)
    writer.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet.part"]
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


def test_readings_of_refused_streams_are_counted_and_not_kept(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    writer.turn(T0, a_batch([0, REFUSED, 1, REFUSED], 0, positions={0: 4}), streams, partitions)
    writer.close()
    ((_, batch, _),), _, _ = replayed(tmp_path / "r.parquet")
    assert batch.stream.tolist() == [0, 1]
    assert batch.offset.tolist() == [0, 2]
    assert batch.positions == {0: 4}
    assert batch.counts == {"refused": 2}


def test_a_slot_that_was_given_again_is_recorded_under_the_right_names(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    writer.turn(T0, a_batch([0], 0), streams, partitions)
    streams.release([0])
    streams.slot("new", "g")
    writer.turn(T0 + 1, a_batch([0], 1), streams, partitions)
    writer.close()
    table = read(tmp_path / "r.parquet")
    assert [table.streams[i] for i in table.stream] == ["m1/temp", "new"]


def test_a_recording_is_also_an_ordinary_long_file(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    writer.turn(T0, a_batch([0, 2], 3), streams, partitions)
    writer.close()
    columns = pq.read_schema(tmp_path / "r.parquet")
    assert str(columns.field("arrived").type) == "timestamp[ns, tz=UTC]"
    table = read(tmp_path / "r.parquet")
    assert (table.streams, table.groups) == (["m1/temp", "speed"], ["m1", "speed"])
    assert table.value.tolist() == [3, 4]
    assert table.arrived is not None
    assert table.arrived.tolist() == [T0 + 3 * SECOND + 5] * 2


def test_reading_on_from_a_position_leaves_out_what_came_before_it(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    for at in range(4):
        writer.turn(T0 + at, a_batch([0], at), streams, partitions)
    writer.close()
    source = RecordingSource(tmp_path / "r.parquet", StreamTable(), PartitionTable(), ReplayClock())
    source.seek({"topic/0": 2, "elsewhere": 9})
    assert [source.poll(0).offset.tolist() for _ in range(4)] == [[], [], [2], [3]]


def test_a_recording_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "VERSION", 99)
    RecordingWriter(tmp_path / "r.parquet").close()
    monkeypatch.undo()
    with pytest.raises(SourceError, match="newer heed"):
        heading(tmp_path / "r.parquet")


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="nowhere"):
        RecordingWriter(tmp_path / "nowhere" / "r.parquet")


def test_a_long_run_of_empty_turns_stays_small(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    for i in range(30_000):
        writer.turn(T0 + i * SECOND // 4, empty(at_end=(0, 1)), streams, partitions)
    writer.close()
    assert (tmp_path / "r.parquet").stat().st_size < 400_000  # two hours of four turns a second
    found = heading(tmp_path / "r.parquet")
    assert found is not None
    assert len(msgspec.json.encode(found)) < 400_000


turns = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=6), st.integers(0, 3), st.lists(st.integers(0, 9), max_size=3)),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(turns, st.integers(1, 8), st.integers(1, 5))
def test_whatever_the_turns_and_however_they_are_cut_into_row_groups_they_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[list[int], int, list[int]]],
    rows: int,
    block: int,
) -> None:
    path = tmp_path_factory.mktemp("rec") / "r.parquet"
    streams, partitions = tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "ROWS_A_GROUP", rows)
        patch.setattr(recording, "TURNS_A_BLOCK", block)
        writer, now, expected = RecordingWriter(path), T0, []
        for i, (slots, later, reads) in enumerate(told):
            now += later
            batch = a_batch(slots, i, i % 2, at_end=(i % 2,), positions={i % 2: i})
            writer.turn(now, batch, streams, partitions)
            for read in reads:
                writer.time(now + read)
            expected.append((now, batch, tuple(now + read for read in reads)))
        writer.close()
    got, _, _ = replayed(path)
    assert [(now, times) for now, _, times in got] == [(now, times) for now, _, times in expected]
    for (_, a, _), (_, b, _) in zip(got, expected, strict=True):
        same(a, b)
