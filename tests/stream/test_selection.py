"""Whom the selection admits: what holds for every demand, and that blind is kept whenever it can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.selection import (
    SHED,
    Admission,
    Reason,
    explored_part,
    first,
    forced_count,
    frames_left,
    interleave,
    looks_per_frame,
    select,
)


@st.composite
def demands(draw: st.DrawFn) -> dict[str, object]:
    n = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 5, 1000]))  # few levels = many ties
    blind = draw(st.integers(1, 40))
    looked = rng.integers(-blind - 3, 0, n)
    return {
        "slots": rng.permutation(200)[:n].astype(np.int32),
        "looked": looked,
        "weights": (rng.integers(0, levels, n) / 7 - 1).astype(np.float32),
        "k": draw(st.integers(0, 70)),
        "left": looked + blind if draw(st.booleans()) else rng.integers(-2, blind, n),
        "suspect": rng.random(n) < draw(st.sampled_from([0, 0.1, 0.9])),
        "explore": draw(st.sampled_from([0, 0.1, 0.25, 1])),
        "plan": draw(st.integers(0, 20)),
    }


@settings(max_examples=300, deadline=None)
@given(demands())
def test_exactly_as_many_as_fit_are_admitted_once_each_and_everyone_has_a_reason(d: dict) -> None:
    a = select(**d)
    n = len(d["slots"])
    assert len(a.rows) == min(d["k"], n) == len(np.unique(a.rows))
    assert len(a.reason) == n
    np.testing.assert_array_equal(np.sort(a.rows), np.flatnonzero(a.reason < SHED))
    assert a.forced_missing == np.count_nonzero((d["left"] <= 0) & (a.reason >= SHED))
    assert 0 <= a.explored_share <= 1


@settings(max_examples=300, deadline=None)
@given(demands())
def test_of_those_left_to_weight_none_admitted_weighs_less_than_one_shed(d: dict) -> None:
    a = select(**d)
    admitted, shed = d["weights"][a.reason == Reason.WEIGHT], d["weights"][a.reason == Reason.OVER_BUDGET]
    assert admitted.min(initial=np.inf) >= shed.max(initial=-np.inf)


@settings(max_examples=300, deadline=None)
@given(demands())
def test_blind_comes_before_suspects_and_suspects_before_the_rest(d: dict) -> None:
    a = select(**d)
    if a.forced_missing:  # then nothing but forced looks was done, those with the least time left
        assert set(a.reason[a.rows]) <= {Reason.FORCED}
        assert d["left"][a.rows].max(initial=-99) <= 0
    if (a.reason == Reason.SUSPECT_OVERFLOW).any():
        assert set(a.reason[a.rows]) <= {Reason.FORCED, Reason.SUSPECT}
        taken = d["looked"][a.reason == Reason.SUSPECT]
        assert taken.max(initial=-99) <= d["looked"][a.reason == Reason.SUSPECT_OVERFLOW].min()
    explored, shed = d["looked"][a.reason == Reason.EXPLORED], d["looked"][a.reason == Reason.OVER_BUDGET]
    assert explored.max(initial=-99) <= shed.min(initial=99)


@settings(max_examples=200, deadline=None)
@given(demands(), st.randoms(use_true_random=False))
def test_the_order_in_which_windows_come_does_not_matter(d: dict, random: object) -> None:
    turned = np.array(random.sample(range(len(d["slots"])), len(d["slots"])), np.intp)
    other = {key: v[turned] if isinstance(v, np.ndarray) else v for key, v in d.items()}
    a, b = select(**d), select(**other)
    np.testing.assert_array_equal(d["slots"][a.rows], other["slots"][b.rows])
    np.testing.assert_array_equal(a.reason[turned], b.reason)


@settings(max_examples=200, deadline=None)
@given(demands())
def test_work_goes_forced_first_by_time_left_then_suspects_then_the_mix(d: dict) -> None:
    d["k"] = min(d["k"], len(d["slots"]) - 1)
    a = select(**d)
    rank = np.minimum(a.reason[a.rows], Reason.EXPLORED)
    assert (np.diff(rank.astype(int)) >= 0).all()
    assert (np.diff(d["left"][a.rows[rank == Reason.FORCED]]) >= 0).all()
    assert (np.diff(d["looked"][a.rows[rank == Reason.SUSPECT]]) >= 0).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 100))
def test_a_cut_by_the_clock_leaves_exploration_its_quarter(weighed: int, explored: int, cut: int) -> None:
    order = interleave(np.arange(weighed), 1000 + np.arange(explored))[:cut]
    done = np.count_nonzero(order >= 1000)
    assert done >= min(explored, len(order) / 4)
    assert len(order) - done >= min(weighed, 3 * (len(order) // 4))
    assert (np.diff(order[order < 1000]) > 0).all() and (np.diff(order[order >= 1000]) > 0).all()


def test_what_the_clock_cut_is_shed_and_says_so() -> None:
    a = simple(n=10, k=6, left=np.array([0, 0, *[9] * 8]))
    cut = a.cut(1)
    assert list(cut.rows) == list(a.rows[:1])
    assert [cut.reason[row] for row in a.rows] == [Reason.FORCED] + [Reason.CUT_BY_CLOCK] * 5
    assert (a.forced_missing, cut.forced_missing) == (0, 1)
    assert Reason.CUT_BY_CLOCK not in a.reason


def simple(n: int, k: int, left: np.ndarray | None = None, **other: object) -> Admission:
    columns = {
        "slots": np.arange(n, dtype=np.int32),
        "looked": np.zeros(n, np.int64),
        "weights": np.arange(n, dtype=np.float32),
        "left": np.full(n, 1000) if left is None else left,
        "suspect": np.zeros(n, bool),
        "explore": 0.25,
    }
    return select(k=k, **(columns | other))


def test_unloaded_everything_is_admitted_and_says_so() -> None:
    a = simple(n=5, k=5)
    assert set(a.reason) == {Reason.ALL} and sorted(a.rows) == [0, 1, 2, 3, 4]


def test_a_quarter_of_the_free_looks_explores_and_a_tenth_above_eightfold_demand() -> None:
    assert explored_part(0.25, demand=80, k=10) == 0.25
    assert explored_part(0.25, demand=81, k=10) == pytest.approx(0.1)
    a = simple(n=100, k=20)
    assert np.count_nonzero(a.reason == Reason.EXPLORED) == 5
    assert a.explored_share == 0.05


def test_a_weight_that_is_not_a_number_ranks_last() -> None:
    weights = np.array([np.nan, 1, np.inf, -np.inf, 2], np.float32)
    a = simple(n=5, k=3, weights=weights, explore=0.0)
    assert list(a.rows) == [2, 4, 1]


def test_equal_weights_go_to_the_one_not_looked_at_for_longer_then_to_the_lower_slot() -> None:
    looked = np.array([5, 3, 4, 3], np.int64)
    a = simple(n=4, k=3, weights=np.ones(4, np.float32), looked=looked, explore=0.0)
    assert list(a.rows) == [1, 3, 2]


def test_the_smallest_of_a_column_are_found_in_order() -> None:
    rng = np.random.default_rng(0)
    key, tie = rng.integers(0, 6, 50), rng.permutation(50)
    expected = sorted(range(50), key=lambda i: (key[i], tie[i]))
    for count in (0, 1, 7, 49, 50, 51):
        assert list(first(key, tie, count)) == expected[:count]


def test_time_left_is_counted_in_whole_frames() -> None:
    # ages   0s . . . . . blind 3s        a look now and the next frame is at most 3 s old: 1 frame may pass
    ages = np.array([0, 1, 2, 3, 4]) * 1_000
    assert list(frames_left(ages, 3_000, 1_000)) == [3, 2, 1, 0, -1]
    assert list(frames_left(ages, 3_500, 1_000)) == [3, 2, 1, 0, -1]
    assert looks_per_frame(np.full(10, 4)) == 3
    assert looks_per_frame(np.array([1, 2, 2, 10_000])) == 3


def test_looks_are_forced_before_it_is_too_late() -> None:
    # 10 streams can wait 2 frames, 2 looks a frame keep 4 of them: 6 can't wait
    assert forced_count(np.full(10, 2), plan=2) == 6
    assert forced_count(np.full(4, 2), plan=2) == 0
    assert forced_count(np.array([0, 1, 1, 1, 2, 2]), plan=2) == 2
    assert forced_count(np.array([-5, 0, 90]), plan=2) == 2
    assert forced_count(np.array([], np.int64), plan=2) == 0


def blind_run(
    n: int, blind: np.ndarray, capacity: np.ndarray, seed: int, plan: int, explore: float = 0.25
) -> tuple[int, int]:
    """Looks forced and promises broken over len(capacity) frames, with weights that favour the same streams."""
    rng = np.random.default_rng(seed)
    slots, looked = np.arange(n, dtype=np.int32), np.full(n, -1)
    weights = rng.normal(size=n)
    forced = broken = 0
    for t, k in enumerate(capacity):
        left = blind - (t - looked)
        suspect = rng.random(n) < 0.05
        noisy = (weights + 0.1 * rng.normal(size=n)).astype(np.float32)
        a = select(slots, looked, noisy, int(k), left, suspect, explore, plan)
        looked[a.rows] = t
        forced += np.count_nonzero(a.reason == Reason.FORCED)
        broken += np.count_nonzero(t - looked > blind - 1)
    return forced, broken


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 30), st.integers(0, 3), st.sampled_from([0.0, 0.25]), st.integers(0, 999))
def test_blind_is_never_breached_while_it_can_be_kept(
    n: int, blind: int, spare: int, explore: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plan = looks_per_frame(np.full(n, blind))
    capacity = plan + rng.integers(0, spare * plan + 1, 200)  # goes up and down, never below what blind needs
    assert blind_run(n, np.full(n, blind), capacity, seed, plan, explore)[1] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 80), st.integers(1, 30), st.integers(0, 999))
def test_blind_is_kept_at_a_steady_capacity_even_when_nobody_says_what_it_needs(n: int, blind: int, seed: int) -> None:
    k = -(-n // blind)
    assert blind_run(n, np.full(n, blind), np.full(200, k), seed, plan=0)[1] == 0


def test_classes_with_different_blind_are_kept_with_a_fifth_to_spare() -> None:
    blind = np.repeat([5, 30, 120], [10, 60, 130])
    plan = looks_per_frame(blind)
    assert blind_run(200, blind, np.full(400, round(1.2 * plan)), 0, plan)[1] == 0


def test_blind_that_asks_for_little_takes_little_from_weight() -> None:
    # 2 looks a frame keep it; they are part of the quarter of 20 that goes by age anyway
    forced, broken = blind_run(100, np.full(100, 50), np.full(500, 20), 0, plan=2)
    assert broken == 0 and forced <= 2 * 500
    a = simple(n=100, k=20, left=np.full(100, 49), plan=2)
    counts = np.bincount(a.reason, minlength=8)
    assert (counts[Reason.FORCED], counts[Reason.EXPLORED], counts[Reason.WEIGHT]) == (2, 3, 15)


def test_promises_that_cannot_be_kept_are_counted() -> None:
    assert blind_run(100, np.full(100, 10), np.full(100, 5), 0, plan=10)[1] > 0
    assert simple(n=10, k=4, left=np.zeros(10, np.int64)).forced_missing == 6
