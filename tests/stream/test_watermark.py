"""How far event time has come: what moves a watermark, what holds it, and what does neither."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import SECOND, Batch, empty
from stream.watermark import NEVER, Watermarks, distinct

LATENESS, IDLE = 2, 30


def marks() -> Watermarks:
    return Watermarks(LATENESS * SECOND, IDLE * SECOND)


def readings(*rows: tuple[float, float, int, int], at_end: tuple[int, ...] = (), ended: tuple[int, ...] = ()) -> Batch:
    """Rows of event time (s), arrival (s), partition, offset."""
    ts, arrived, partition, offset = (np.array(column) for column in zip(*rows, strict=True))
    return Batch(
        np.zeros(len(rows), np.int32),
        np.round(ts * SECOND).astype(np.int64),
        np.round(arrived * SECOND).astype(np.int64),
        np.zeros(len(rows)),
        partition.astype(np.int32),
        offset.astype(np.int64),
        {int(p): 0 for p in partition},
        at_end,
        ended,
    )


def at(marks: Watermarks, now: float, batch: Batch | None = None) -> float:
    """The watermark in seconds after a poll."""
    if batch is None:
        batch = empty()
    marks.observe(batch, np.ones(len(batch), bool), round(now * SECOND))
    return marks.advance(round(now * SECOND)) / SECOND


def test_nothing_has_come_and_no_time_has_passed() -> None:
    assert marks().advance(100 * SECOND) == NEVER


def test_a_partition_read_to_its_end_moves_with_time() -> None:
    m = marks()
    assert at(m, 10, readings((10, 10, 0, 0), at_end=(0,))) == 8
    assert at(m, 15, empty(at_end=(0,))) == 13
    assert at(m, 500, empty(at_end=(0,))) == 498  # idle long since, and still


def test_a_partition_that_is_held_up_is_waited_for_however_long() -> None:
    m = marks()
    held = replace(empty(at_end=(1,)), held=(0,))
    assert at(m, 10, readings((10, 10, 0, 0), (10, 10, 1, 0), at_end=(0, 1))) == 8
    assert at(m, 15, held) == at(m, 15 + 5 * IDLE, held) == 8
    assert at(m, 16 + 5 * IDLE, empty(at_end=(1,))) == 8, "held no longer, it may be quiet from here on"
    assert at(m, 17 + 6 * IDLE, empty(at_end=(1,))) == 15 + 6 * IDLE


def test_a_partition_that_is_behind_moves_with_its_readings_only() -> None:
    m = marks()
    assert at(m, 100, readings((10, 50, 0, 0))) == 8
    assert at(m, 120) == 8
    assert at(m, 120, readings((60, 60, 0, 1))) == 58


def test_readings_that_come_with_a_delay_are_given_it() -> None:
    m = marks()
    assert at(m, 13, readings((10, 13, 0, 0), at_end=(0,))) == 8
    assert m.delay == 3 * SECOND
    assert at(m, 20, empty(at_end=(0,))) == 15


def test_one_partition_behind_holds_all() -> None:
    #  partition 0  ........................x 100
    #  partition 1  .....x 20                      the watermark is here, less the lateness
    m = marks()
    assert at(m, 100, readings((100, 100, 0, 0), (20, 90, 1, 0), at_end=(0,))) == 18
    assert at(m, 110, empty(at_end=(0,))) == 18


def test_a_partition_that_has_brought_nothing_yet_holds_all() -> None:
    m = marks()
    assert at(m, 100, readings((100, 100, 0, 0), at_end=(0,))) == 98
    m = marks()
    m.observe(empty(positions={0: 0, 1: 0}), np.ones(0, bool), 100 * SECOND)
    assert at(m, 100, readings((100, 100, 0, 0), at_end=(0,))) == NEVER / SECOND


def test_an_empty_partition_read_to_its_end_holds_nobody() -> None:
    assert at(marks(), 100, readings((100, 100, 0, 0), at_end=(0, 1))) == 98


def test_an_idle_partition_holds_nobody_and_is_waited_for_again_when_it_speaks() -> None:
    m = marks()
    at(m, 100, readings((100, 100, 0, 0), (20, 20, 1, 0), at_end=(0,)))
    assert at(m, 120, readings((120, 120, 0, 1), at_end=(0,))) == 18
    assert at(m, 131, readings((131, 131, 0, 2), at_end=(0,))) == 129  # 1 was quiet for more than 30 s
    assert at(m, 132, readings((21, 21, 1, 1), at_end=(0,))) == 129  # it never goes back
    assert at(m, 140, readings((139, 140, 1, 2), at_end=(0,))) == 137


def test_where_all_are_idle_the_one_that_is_behind_holds_nobody() -> None:
    m = marks()
    at(m, 100, readings((100, 100, 0, 0), (20, 20, 1, 0), at_end=(0,)))
    assert at(m, 200, empty(at_end=(0,))) == 198
    assert at(m, 300, empty(at_end=(0,))) == 298


def test_a_partition_that_ended_holds_nobody_and_the_last_one_says_so() -> None:
    m = marks()
    at(m, 100, readings((100, 100, 0, 0), (20, 20, 1, 0), at_end=(0,)))
    assert not m.end((1,))
    assert at(m, 101, empty(at_end=(0,))) == 99
    assert m.end((0,))


def test_an_ended_partition_comes_back() -> None:
    m = marks()
    at(m, 100, readings((100, 100, 0, 0), (100, 100, 1, 0), at_end=(0, 1)))
    m.end((1,))
    at(m, 120, readings((120, 120, 0, 1), at_end=(0,)))
    assert at(m, 121, readings((119, 121, 1, 1), at_end=(0,))) == 118.0
    assert at(m, 130, readings((130, 130, 0, 2), at_end=(0,))) == 118.0


def test_late_is_judged_by_the_records_before_in_the_own_partition() -> None:
    m = marks()
    batch = readings((10, 10, 0, 0), (90, 90, 1, 0), (14, 14, 0, 1), (11, 15, 0, 2), (15, 15, 0, 3))
    limit, again = m.observe(batch, np.ones(5, bool), 100 * SECOND)
    assert not again.any()
    low = NEVER / SECOND
    assert (limit / SECOND).tolist() == [pytest.approx(low), pytest.approx(low), 8, 12, 12]


def test_what_is_set_aside_moves_nothing() -> None:
    m = marks()
    m.observe(readings((10, 10, 0, 0), (5000, 10, 0, 1)), np.array([True, False]), 10 * SECOND)
    limit, _ = m.observe(readings((11, 11, 0, 2)), np.ones(1, bool), 11 * SECOND)
    assert limit[0] == 8 * SECOND
    assert m.advance(11 * SECOND) == 9 * SECOND


def test_an_offset_seen_in_an_earlier_poll_is_a_duplicate_and_a_shared_one_is_not() -> None:
    m = marks()
    _, again = m.observe(readings((1, 1, 0, 5), (2, 2, 0, 5), (3, 3, 0, 6)), np.ones(3, bool), 0)
    assert not again.any()
    _, again = m.observe(readings((2, 2, 0, 5), (3, 3, 0, 6), (4, 4, 0, 7), (3, 3, 0, 6)), np.ones(4, bool), 0)
    assert again.tolist() == [True, True, False, True]
    _, again = m.observe(readings((4, 4, 1, 5)), np.ones(1, bool), 0)
    assert not again.any()  # another partition


def test_duplicates_move_nothing() -> None:
    m = marks()
    at(m, 10, readings((10, 10, 0, 5)))
    assert at(m, 10, readings((90, 90, 0, 5))) == 8


def test_a_reading_ahead_of_the_clock_is_outgrown() -> None:
    m = marks()
    at(m, 100, readings((150, 100, 0, 0), at_end=(0,)))  # allowed: within a minute of its arrival
    for second in range(101, 300):
        mark = at(m, second, readings((second, second, 0, second), at_end=(0,)))
        assert mark <= max(198, second - LATENESS)
    assert mark == 297


def test_when_says_when_time_alone_will_do() -> None:
    m = marks()
    assert m.when(0) is None
    at(m, 13, readings((10, 13, 0, 0), at_end=(0,)))
    assert m.when(20 * SECOND) == 25 * SECOND
    at(m, 14, readings((14, 14, 0, 1)))  # it is behind now: its readings tell
    assert m.when(20 * SECOND) is None


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_never_goes_back_and_is_there_when_it_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, now, offset = marks(), 100.0, 0
    for _ in range(12):
        now += rng.choice([0.0, 0.5, 3.0, 31.0])
        rows = [
            (now + rng.integers(-60, 5), now - rng.integers(0, 3), rng.integers(0, 3), offset + i)
            for i in range(rng.integers(0, 4))
        ]
        at_end = tuple(p for p in range(3) if rng.random() < 0.5)
        offset += len(rows)
        before = m.now
        at(m, now, readings(*rows, at_end=at_end) if rows else empty(at_end=at_end))
        assert m.now >= before
        target = m.now + int(rng.integers(1, 50)) * SECOND if m.now > NEVER else round(now * SECOND)
        when = m.when(target)
        assert when is None or when > now * SECOND
        if when is None:
            assert copy.deepcopy(m).advance(10**8 * SECOND) < target
        else:
            assert copy.deepcopy(m).advance(when - 1) < target
            assert copy.deepcopy(m).advance(when) >= target


def test_a_checkpoint_keeps_how_far_each_partition_has_come() -> None:
    m, again = marks(), marks()
    at(m, 13, readings((10, 13, 0, 7), (50, 50, 2, 1), at_end=(0, 2)))
    again.restore({name: column.copy() for name, column in m.columns().items()})
    assert again.now == m.now
    assert at(again, 14) == at(m, 14)
    for each in (m, again):
        limit, duplicate = each.observe(
            readings((11, 14, 0, 7), (12, 14, 0, 8), at_end=(0, 2)), np.ones(2, bool), 14 * SECOND
        )
        assert (limit // SECOND).tolist() == [8, 8]
        assert duplicate.tolist() == [True, False]
        assert each.advance(30 * SECOND) == 26 * SECOND


@given(st.lists(st.integers(0, 5)))
def test_distinct_says_what_occurs(values: list[int]) -> None:
    assert distinct(np.array(values, np.int32)) == sorted(set(values))
