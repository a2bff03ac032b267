"""The synthetic source: readings fall due on whatever clock it is given, and any step can be gone back to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import REFUSED, SECOND, Batch, PartitionTable, StreamTable, concat
from connectors.clock import ReplayClock, WallClock
from connectors.source import SourceError
from connectors.synthetic import Fault, SyntheticSource, World

STEP = SECOND // 4
START = World(1).start_ns
NAME = "synthetic/0"


def source(
    clock: ReplayClock | WallClock, streams: int = 20, seconds: float | None = 60, **more: int
) -> SyntheticSource:
    end = None if seconds is None else START + round(seconds * SECOND)
    return SyntheticSource(World(streams, 1), StreamTable(), PartitionTable(), clock, end_ns=end, **more)


def drain(source: SyntheticSource, wait: int = STEP) -> Batch:
    batches = []
    while not source.done:
        batches.append(source.poll(source.clock.now() + wait))
    return concat(batches)


def test_each_poll_brings_one_step_when_it_is_due() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock)
    first = synthetic.poll(START + 10 * STEP)
    second = synthetic.poll(START + 10 * STEP)
    assert set(first.ts) == {START}
    assert set(second.ts) == {START + STEP}
    assert clock.now() == START + STEP
    np.testing.assert_array_equal(second.arrived, second.ts)
    np.testing.assert_array_equal(second.offset, np.ones(20))
    assert second.positions == {0: 2}
    assert first.at_end == second.at_end == (0,)


def test_a_poll_that_ends_before_the_next_reading_is_empty_and_at_the_end() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock)
    synthetic.poll(START)
    batch = synthetic.poll(START + STEP // 2)
    assert len(batch) == 0
    assert batch.at_end == (0,)
    assert batch.positions == {}
    assert clock.now() == START + STEP // 2
    assert not synthetic.done


def test_a_clock_that_is_ahead_gets_all_that_is_due_and_is_told_when_there_is_more() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock, streams=20_000, seconds=3)
    clock.jump(START + 4 * STEP)
    batch = synthetic.poll(clock.now())
    assert len(batch) == 3 * 20_000
    assert batch.at_end == ()
    rest = synthetic.poll(clock.now())
    assert rest.at_end == (0,)
    assert set(rest.offset) == {3, 4}


def test_the_end_is_told_once_and_then_nothing_comes() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock, seconds=2)
    batches = [synthetic.poll(clock.now() + STEP) for _ in range(8)]
    assert [bool(b.ended) for b in batches] == [False] * 7 + [True]
    assert synthetic.done
    before = clock.now()
    assert len(synthetic.poll(before + SECOND)) == 0
    assert clock.now() == before


def test_a_source_without_an_end_is_never_done() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock, seconds=None)
    clock.jump(START + 3600 * SECOND)
    synthetic.poll(clock.now())
    assert not synthetic.done


def test_a_time_too_short_for_a_step_ends_at_once() -> None:
    synthetic = source(ReplayClock(START), seconds=0)
    assert synthetic.poll(START + SECOND).ended == (0,)
    assert synthetic.done


@given(st.lists(st.integers(1, 30 * STEP), min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_what_is_read_does_not_depend_on_when_it_is_polled(jumps: list[int]) -> None:
    clock = ReplayClock(START)
    jumpy, batches = source(clock, seconds=20), []
    for jump in jumps:
        clock.jump(clock.now() + jump)
        batches.append(jumpy.poll(clock.now()))
    whole, parts = drain(source(ReplayClock(START), seconds=20)), concat([*batches, drain(jumpy)])
    for column in ("stream", "ts", "value", "offset"):
        np.testing.assert_array_equal(getattr(parts, column), getattr(whole, column))


@given(st.integers(0, 239))
@settings(max_examples=15, deadline=None)
def test_reading_on_from_a_position_gives_what_came_after_it(position: int) -> None:
    whole = drain(source(ReplayClock(START)))
    again = source(ReplayClock(START))
    again.seek({NAME: position, "other/0": 3})
    rest = drain(again)
    np.testing.assert_array_equal(rest.value, whole.value[whole.offset >= position])
    assert rest.positions == whole.positions == {0: 240}


def test_a_position_before_the_first_step_is_refused() -> None:
    with pytest.raises(SourceError, match=r"synthetic/0: there is no step -1"):
        source(ReplayClock(START)).seek({NAME: -1})


def test_a_clock_given_later_makes_what_was_due_before_it_backlog() -> None:
    clock = ReplayClock(START)
    synthetic = source(clock)
    assert not synthetic.poll(START).backlog.any()
    synthetic.clock = ReplayClock(START + 3 * STEP)
    late = synthetic.poll(START + 3 * STEP)
    np.testing.assert_array_equal(late.backlog, late.offset < 3)
    assert set(late.offset) == {1, 2, 3}


def test_on_a_wall_clock_readings_come_when_they_are_due() -> None:
    clock = WallClock()
    world = World(10, 0, step_ns=SECOND // 50, start_ns=clock.now())
    synthetic = SyntheticSource(world, StreamTable(), PartitionTable(), clock, end_ns=world.start_ns + SECOND // 5)
    while not synthetic.done:
        batch = synthetic.poll(clock.now() + SECOND)
        assert len(batch) >= 10
        assert batch.arrived.max() <= clock.now()
    assert set(batch.offset) <= set(range(10))
    assert 9 in batch.offset


def test_a_stream_that_drops_out_brings_no_readings() -> None:
    clock = ReplayClock(START)
    world = World(10, 0)
    world.inject(
        [Fault("dropout", "fault", world.groups[2], (world.names[2],), START + STEP, START + 3 * STEP, False, 0.0)]
    )
    table = StreamTable()
    everything = drain(SyntheticSource(world, table, PartitionTable(), clock, end_ns=START + SECOND))
    assert list(everything.offset[everything.stream == table.slot_of[world.names[2]]]) == [0, 3]
    assert len(everything) == 38


def test_streams_over_the_limit_are_marked_and_the_rest_have_their_names_and_groups() -> None:
    table, world = StreamTable(limit=7), World(10, 0)
    synthetic = SyntheticSource(world, table, PartitionTable(), ReplayClock(START))
    batch = synthetic.poll(START)
    assert (batch.stream == REFUSED).sum() == table.refused == 3
    assert table.names == world.names[:7]
    assert table.groups == world.groups[:7]
    assert set(table.step) == {STEP}
