"""Replay: files merged by arrival on a clock that the source winds."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import SECOND, Batch, PartitionTable, StreamTable
from connectors.clock import ReplayClock
from connectors.recordings.replay import NEVER, ReplaySource
from connectors.recordings.table import Labelled, Raster, Table

T0 = 1_700_000_000 * SECOND


def table(name: str, seconds: list[float], arrived: list[float] | None = None) -> Table:
    """A file of one stream; its values are its row numbers."""
    ts = np.array([T0 + round(s * SECOND) for s in seconds], np.int64)
    late = None if arrived is None else np.array([T0 + round(s * SECOND) for s in arrived], np.int64)
    rows = np.arange(len(ts))
    return Table(
        name, [f"{name}/v"], [name], [Raster(SECOND, 0)], np.zeros(len(ts), np.int32), ts, late,
        rows.astype(float), rows, len(ts), (Labelled(name, int(ts[0]), int(ts[-1])),),
    )  # fmt: skip


class Run:
    """A replay of some files, and where it stands, in seconds after T0."""

    def __init__(self, *files: Table | str | Path, window: tuple[int, int] | None = None) -> None:
        self.clock, self.streams, self.partitions = ReplayClock(), StreamTable(), PartitionTable()
        self.source = ReplaySource(files, self.streams, self.partitions, self.clock, window)

    @property
    def now(self) -> float:
        return (self.clock.now() - T0) / SECOND

    def poll(self, until: float) -> Batch:
        return self.source.poll(T0 + round(until * SECOND))

    def names(self, partitions: tuple[int, ...]) -> list[str]:
        return [self.partitions.names[p] for p in partitions]


def test_the_clock_jumps_to_the_first_reading_and_then_brings_a_step_a_poll() -> None:
    run = Run(table("a", [0, 1, 2]))
    first = run.poll(-1000)
    assert (first.value.tolist(), run.now, run.names(first.at_end)) == ([0], 0, ["a"])
    assert (run.poll(0.5).value.tolist(), run.now) == ([], 0.5)
    assert (run.poll(1.5).value.tolist(), run.now) == ([1], 1.5)
    last = run.poll(9)
    assert (last.value.tolist(), run.names(last.ended), last.at_end) == ([2], ["a"], ())
    assert run.source.done


def test_a_charge_to_the_clock_makes_readings_wait_and_they_then_come_at_once() -> None:
    run = Run(table("a", [0, 1, 2, 3]))
    run.poll(0)
    run.clock.charge(2.5)
    batch = run.poll(3)
    assert (batch.value.tolist(), run.now) == ([1, 2], 2.5)
    assert ((batch.arrived - T0) / SECOND).tolist() == [1, 2]


def test_nothing_due_winds_to_the_next_arrival_and_no_further() -> None:
    run = Run(table("a", [0, 7]))
    run.poll(0)
    batch = run.source.poll(NEVER)
    assert (batch.value.tolist(), run.now) == ([1], 7)


def test_files_are_merged_by_arrival_and_each_is_a_partition() -> None:
    run = Run(table("a", [0, 2, 4]), table("b", [1, 3]))
    run.poll(0)
    batch = run.poll(3.5)
    assert [run.partitions.names[p] for p in batch.partition] == ["b", "a", "b"]
    assert batch.offset.tolist() == [0, 1, 1]
    assert batch.positions == {run.partitions.number("a"): 2, run.partitions.number("b"): 2}
    assert (run.names(batch.at_end), run.names(batch.ended)) == (["a"], ["b"])


def test_a_file_that_has_not_begun_is_not_mentioned_and_its_streams_have_no_slot() -> None:
    run = Run(table("b", [100]), table("a", [0, 1]))
    batch = run.poll(0)
    assert run.partitions.names == ["a"]
    assert run.streams.names == ["a/v"]
    assert run.names(batch.at_end) == ["a"]


def test_recordings_years_apart_replay_at_once() -> None:
    year = 365 * 86400
    run = Run(table("late", [10 * year, 10 * year + 1]), table("early", [0, 1]))
    polls = [run.source.poll(run.clock.now() + SECOND) for _ in range(4)]
    assert [p.value.tolist() for p in polls] == [[0], [1], [0], [1]]
    assert run.names(polls[1].ended) == ["early"]
    assert run.source.done


def test_out_of_order_rows_arrive_with_the_latest_before_them() -> None:
    run = Run(table("a", [5, 3, 4, 6]))
    batch = run.poll(0)
    assert batch.value.tolist() == [0, 1, 2]
    assert ((batch.arrived - T0) / SECOND).tolist() == [5, 5, 5]
    assert ((batch.ts - T0) / SECOND).tolist() == [5, 3, 4]


def test_arrivals_that_the_file_tells_decide_when_readings_come() -> None:
    run = Run(table("a", [0, 1, 2], arrived=[10, 10, 12]))
    assert run.poll(0).value.tolist() == [0, 1]
    assert run.now == 10


def test_a_window_leaves_out_what_is_outside() -> None:
    run = Run(table("a", [0, 1, 2, 3, 4]), table("b", [9]), window=(T0 + SECOND, T0 + 3 * SECOND))
    values = []
    while not run.source.done:
        values += run.source.poll(NEVER).value.tolist()
    assert values == [1, 2]
    assert run.partitions.names == ["a"]


def test_labels_progress_and_raster_are_handed_on() -> None:
    run = Run(table("a", [0, 1]), table("b", [5, 6]))
    run.poll(0)
    assert run.source.progress == 0.25
    assert run.source.labelled() == [Labelled("a", T0, T0 + SECOND)]
    while not run.source.done:
        run.source.poll(NEVER)
    assert run.source.progress == 1
    assert [found.name for found in run.source.labelled()] == ["a", "b"]
    assert run.streams.step == [SECOND, SECOND]


def test_a_stream_that_was_released_gets_a_slot_again() -> None:
    run = Run(table("a", [0, 1, 2]))
    run.poll(0)
    run.streams.release([0])
    run.streams.slot("other", "g")  # takes the slot that was a's
    batch = run.poll(1)
    assert run.streams.names[batch.stream[0]] == "a/v"


def test_streams_over_the_limit_come_as_refused() -> None:
    clock, streams = ReplayClock(), StreamTable(limit=1)
    source = ReplaySource([table("a", [0]), table("b", [0])], streams, PartitionTable(), clock)
    assert source.poll(NEVER).stream.tolist() == [0, -1]


def test_a_file_is_read_when_its_time_comes(tmp_path: Path) -> None:
    early, late = tmp_path / "early.csv", tmp_path / "late.csv"
    early.write_text("ts,v\n1700000000,1\n1700000001,2\n")
    late.write_text("ts,v\n1800000000,3\n")
    run = Run(late, early)
    run.poll(0)
    late.write_text("ts,v\n1800000000,4\n")  # nobody holds the old content
    values = []
    while not run.source.done:
        values += run.source.poll(NEVER).value.tolist()
    assert values == [2, 4]


times = st.lists(st.integers(0, 60), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(st.lists(times, min_size=1, max_size=4), st.lists(st.floats(0.1, 9), min_size=1, max_size=8))
def test_however_it_is_polled_every_reading_comes_once_and_never_too_early(
    files: list[list[int]], waits: list[float]
) -> None:
    run = Run(*[table(f"f{i}", [float(s) for s in seconds]) for i, seconds in enumerate(files)])
    seen: dict[str, list[int]] = {}
    ended: list[str] = []
    for turn in range(10_000):
        if run.source.done:
            break
        before = run.clock.now()
        batch = run.source.poll(before + round(waits[turn % len(waits)] * SECOND) + 1)
        run.clock.charge(waits[turn % len(waits)] / 3)
        assert (batch.arrived <= run.clock.now()).all()
        assert (np.diff(batch.arrived) >= 0).all()
        for p, row in zip(batch.partition.tolist(), batch.offset.tolist(), strict=True):
            seen.setdefault(run.partitions.names[p], []).append(row)
        ended += run.names(batch.ended)
    assert seen == {f"f{i}": list(range(len(seconds))) for i, seconds in enumerate(files)}
    assert sorted(ended) == sorted(seen)
