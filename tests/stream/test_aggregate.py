"""Readings that share a step become one value, and what each transform makes of it."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.aggregate import AGGREGATES, TRANSFORMS, OpenSteps, Transforms

ALL = np.arange(len(AGGREGATES), dtype=np.int32)


def steps(room: int = 3) -> OpenSteps:
    """One stream for each aggregate."""
    found = OpenSteps(room)
    found.grow(len(AGGREGATES), room)
    found.how[:] = ALL
    return found


def add(opened: OpenSteps, row: int, readings: list[tuple[int, float]]) -> None:
    """The same readings (event time, value) for every stream."""
    n = len(ALL)
    ts, value = (np.repeat(column, n) for column in zip(*readings, strict=True))
    slots = np.tile(ALL, len(readings))
    opened.add(np.full(slots.size, row), slots, ts.astype(np.int64), value.astype(float))


def taken(opened: OpenSteps, row: int) -> dict[str, float]:
    value, _ = opened.take(row, ALL)
    return dict(zip(AGGREGATES, value.tolist(), strict=True))


def test_every_aggregate_says_what_its_name_says() -> None:
    opened = steps()
    add(opened, 1, [(30, 4.0), (10, -2.0), (20, 7.0)])
    assert taken(opened, 1) == {"mean": 3.0, "sum": 9.0, "min": -2.0, "max": 7.0, "last": 4.0, "count": 3.0}


def test_a_step_without_readings_has_no_value() -> None:
    assert all(math.isnan(value) for value in taken(steps(), 0).values())


def test_a_step_that_was_taken_is_empty_again() -> None:
    opened = steps()
    add(opened, 0, [(50, -4.0)])
    taken(opened, 0)
    add(opened, 0, [(10, 3.0)])
    assert taken(opened, 0) == {"mean": 3.0, "sum": 3.0, "min": 3.0, "max": 3.0, "last": 3.0, "count": 1.0}


def test_of_readings_with_one_event_time_the_one_that_came_last_is_the_last() -> None:
    opened = steps()
    add(opened, 0, [(5, 1.0), (5, 2.0), (3, 9.0)])
    add(opened, 0, [(5, 3.0), (4, 8.0)])
    assert taken(opened, 0)["last"] == 3.0


def test_a_sum_too_large_to_say_is_no_value() -> None:
    opened = steps()
    add(opened, 0, [(1, 1.5e308), (2, 1.5e308)])
    found = taken(opened, 0)
    assert math.isnan(found["sum"])
    assert found["max"] == 1.5e308


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_how_readings_are_cut_into_batches_does_not_show(readings: list[tuple[int, float]], cuts: list[int]) -> None:
    whole, pieces = steps(), steps()
    add(whole, 0, readings)
    edges = [0, *sorted(min(cut, len(readings)) for cut in cuts), len(readings)]
    for begin, end in pairwise(edges):
        if end > begin:
            add(pieces, 0, readings[begin:end])
    assert taken(whole, 0) == taken(pieces, 0)


def test_more_room_loses_nothing() -> None:
    # Streams 0 to 2 have closed step 6, the others step 100:
    #   row of 3:   k=7 -> 1, 8 -> 2, 9 -> 0       101 -> 2, 102 -> 0, 103 -> 1
    #   row of 5:   k=7 -> 2, 8 -> 3, 9 -> 4       101 -> 1, 102 -> 2, 103 -> 3
    opened = steps(3)
    for k, closed in ((7, 6), (8, 6), (9, 6), (101, 100), (103, 100)):
        mine = ALL[:3] if closed == 6 else ALL[3:]
        opened.add(np.full(mine.size, k % 3), mine, np.full(mine.size, k), np.full(mine.size, float(k)))
    wide = opened.widened(5, [(ALL[:3], 6), (ALL[3:], 100)])
    for k, mine in ((7, ALL[:3]), (8, ALL[:3]), (9, ALL[:3]), (101, ALL[3:4]), (103, ALL[3:4])):
        value, count = wide.take(k % 5, mine)
        assert (value == k).all()
        assert (count == 1).all()
    assert wide.take(102 % 5, ALL[3:])[1].tolist() == [0, 0, 0]


def transforms(**how: str) -> Transforms:
    found = Transforms()
    found.grow(len(how))
    found.how[:] = [TRANSFORMS.index(name) for name in how.values()]
    return found


def over(how: str, values: list[float], step_s: float = 1.0) -> list[float]:
    """What a stream's steps become."""
    found, slots = transforms(a=how), np.zeros(1, np.int32)
    return [float(found.apply(slots, np.array([v]), k, step_s)[0]) for k, v in enumerate(values)]


NONE = math.nan


@pytest.mark.parametrize(
    ("how", "values", "expected"),
    [
        ("none", [1.0, NONE, 3.0], [1.0, NONE, 3.0]),
        ("delta", [1.0, 4.0, 2.0], [NONE, 3.0, -2.0]),
        ("delta", [1.0, NONE, 2.0], [NONE, NONE, 1.0]),
        ("rate", [10.0, 30.0, 30.0], [NONE, 10.0, 0.0]),
        ("rate", [10.0, NONE, 30.0], [NONE, NONE, 5.0]),  # over two steps
        ("rate", [100.0, 6.0, 8.0], [NONE, 3.0, 1.0]),  # the counter restarted and has counted 6 since
        ("log_return", [1.0, math.e, math.e], [NONE, 1.0, 0.0]),
        ("log_return", [0.0, 1.0, -1.0, 0.0], [NONE, NONE, NONE, NONE]),
        ("delta", [-1.7e308, 1.7e308, 1.7e308], [NONE, NONE, 0.0]),
    ],
)
def test_every_transform_against_the_step_before(how: str, values: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(over(how, values, step_s=2.0), expected)


def test_streams_with_other_transforms_do_not_touch_each_other() -> None:
    found, slots = transforms(a="none", b="delta", c="rate"), np.arange(3, dtype=np.int32)
    found.apply(slots, np.array([1.0, 1.0, 1.0]), 0, 1.0)
    out = found.apply(slots[1:], np.array([5.0, 5.0]), 1, 1.0)
    np.testing.assert_allclose(out, [4.0, 4.0])
    np.testing.assert_allclose(found.apply(slots, np.array([7.0, 7.0, 7.0]), 2, 1.0), [7.0, 2.0, 2.0])
