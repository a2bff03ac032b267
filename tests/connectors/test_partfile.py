"""Recordings under way: what a killed writer leaves can be read to its last whole block."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recording import T0, a_batch, replayed, same, tables

from connectors.recordings import recording
from connectors.recordings.recording import RecordingWriter, heading
from connectors.source import SourceError

TURNS, A_BLOCK = 24, 4


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a writer leaves that is killed after six blocks."""
    path = tmp_path_factory.mktemp("part") / "r.parquet"
    streams, partitions = tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "TURNS_A_BLOCK", A_BLOCK)
        writer = RecordingWriter(path, "windows: {}", "sha256:1")
        for i in range(TURNS + 1):  # the last turn is still in memory
            if i == 10:
                streams.slot("late/one", "late", {}, 0, 0)
                partitions.number("topic/2")
            writer.turn(T0 + i, a_batch([3 if i > 10 else 1, 0], i, positions={0: i}), streams, partitions)
            writer.time(T0 + i + 3)
    return path.with_name("r.parquet.part")


def test_a_killed_writer_leaves_all_its_blocks(left: Path) -> None:
    found = heading(left)
    assert found is not None and (found.config, found.model) == ("windows: {}", "sha256:1")
    assert [stream.name for stream in found.streams] == ["m1/temp", "m1/load", "speed", "late/one"]
    turns, _, _ = replayed(left)
    assert [now for now, _, _ in turns] == [T0 + i for i in range(TURNS)]
    for i, (_, batch, times) in enumerate(turns):
        expected = a_batch([1, 0], i, positions={0: i})
        assert times == (T0 + i + 3,)
        assert batch.value.tolist() == expected.value.tolist() and batch.positions == expected.positions


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1))
def test_wherever_it_was_cut_off_whole_turns_come_back(
    left: Path, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    whole = left.read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "r.parquet.part"
    cut.write_bytes(whole[: int(share * len(whole))])
    try:
        turns, _, _ = replayed(cut)
    except SourceError:
        assert share < 0.5, "only where not even the beginning is there"
        return
    assert len(turns) % A_BLOCK == 0
    assert [now for now, _, _ in turns] == [T0 + i for i in range(len(turns))]


def test_what_was_left_is_moved_aside_and_not_written_over(left: Path, tmp_path: Path) -> None:
    streams, partitions = tables()
    for _ in range(2):
        (tmp_path / "r.parquet.part").write_bytes(left.read_bytes())
        writer = RecordingWriter(tmp_path / "r.parquet")
        writer.turn(T0, a_batch([0], 0), streams, partitions)
        writer.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["r.parquet", "r.parquet.1.part", "r.parquet.2.part"]
    assert len(replayed(tmp_path / "r.parquet.2.part")[0]) == TURNS


def test_blocks_are_on_disk_after_some_seconds_of_turns(tmp_path: Path) -> None:
    streams, partitions = tables()
    writer = RecordingWriter(tmp_path / "r.parquet")
    on_disk = [writer.turn(T0 + i * 2_000_000_000, a_batch([0], i), streams, partitions) for i in range(8)]
    assert on_disk == [True, False, False, True, False, False, True, False]
    turns, _, _ = replayed(tmp_path / "r.parquet.part")
    assert len(turns) == 6
    same(turns[5][1], a_batch([0], 5))
