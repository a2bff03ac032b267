"""The latency budget: kept exactly under a price, nearly always under noise, and sane at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.budget import BEST_ROWS, MOST_ROWS, Budget

MS = 1_000_000
HOUR = 3_600_000 * MS


def frame(budget: Budget, demand: int, cost, anchor: int = 0, start: int = 0) -> tuple[int, int, int]:
    """One frame's full looks by a clock that ``cost(rows)`` seconds a chunk moves: rows done, lag, chunks."""
    deadline, now = anchor + budget.latency_ns, anchor + start
    admitted = budget.afford(deadline, now, demand)
    done = chunks = 0
    while rows := budget.chunk(deadline, now, admitted - done):
        seconds = cost(rows)
        budget.spend(rows, seconds)
        now += round(seconds * 1e9)
        done, chunks = done + rows, chunks + 1
    lag = now - anchor
    budget.frame_done(lag)
    return done, lag, chunks


def price(fixed: float, each: float):
    return lambda rows: fixed + rows * each


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([0.0, 1e-4, 0.005, 0.3]),
    st.sampled_from([0.0, 1e-6, 1e-4, 0.02, 1.0]),
    st.integers(1, 2000),
    st.integers(0, 20_000),
    st.floats(0, 1.5),
)
def test_under_a_price_the_budget_is_kept_to_the_nanosecond_and_used(
    fixed: float, each: float, latency_ms: int, demand: int, spent: float
) -> None:
    budget = Budget(latency_ms * MS, (fixed, each), exact=True)
    start = int(spent * budget.latency_ns)
    stop = 0.95 * budget.latency_ns
    done, lag, _ = frame(budget, demand, price(fixed, each), start=start)
    if fixed == 0 == each:
        assert done == demand
        return
    assert lag <= max(start, stop + 1)
    if done < demand and each > 0 and start + fixed * 1e9 + each * 1e9 <= stop:
        assert lag + (fixed + each) * 1e9 > stop - 1  # not one more row would have fitted


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([0.0, 1e-4, 0.005, 0.3]),
    st.sampled_from([1e-6, 1e-4, 0.02, 1.0]),
    st.integers(1, 2000),
    st.integers(0, 20_000),
)
def test_under_a_price_all_that_is_afforded_is_done(fixed: float, each: float, latency_ms: int, demand: int) -> None:
    budget = Budget(latency_ms * MS, (fixed, each), exact=True)
    afforded = budget.afford(budget.latency_ns, 0, demand)
    done, _, _ = frame(budget, demand, price(fixed, each))
    assert done == afforded <= demand


def test_the_price_of_the_traffic_recording_leaves_eleven_looks() -> None:
    budget = Budget(250 * MS, (0.005, 0.020), exact=True)
    assert budget.afford(250 * MS, 0, 100) == 11
    assert frame(budget, 100, price(0.005, 0.020))[:2] == (11, 225 * MS)


def test_a_price_is_never_learnt_away() -> None:
    budget = Budget(100 * MS, (0.001, 0.001), exact=True)
    for _ in range(50):
        frame(budget, 500, lambda rows: 0.5)
    assert (budget.fixed, budget.each, budget.deviation) == (0.001, 0.001, 0.0)


def test_free_looks_are_never_too_late() -> None:
    budget = Budget(1 * MS, (0.0, 0.0), exact=True)
    assert budget.afford(0, HOUR, 10**6) == 10**6
    assert budget.chunk(0, HOUR, 10**6) == BEST_ROWS


def test_a_card_that_says_nothing_of_cost_is_corrected_by_the_first_looks() -> None:
    budget = Budget(100 * MS, (0.0, 0.0))
    assert budget.chunk(100 * MS, 0, 10**6) == MOST_ROWS
    assert budget.chunk(100 * MS, 99 * MS, 10**6) == 0
    for _ in range(3):
        frame(budget, 1000, price(0, 0.001))
    assert frame(budget, 1000, price(0, 0.001))[1] <= 100 * MS


def test_a_budget_smaller_than_one_call_admits_nothing() -> None:
    budget = Budget(1 * MS, (0.005, 0.001), exact=True)
    assert budget.afford(1 * MS, 0, 10) == budget.chunk(1 * MS, 0, 10) == 0


def test_an_hour_is_enough_for_everything() -> None:
    budget = Budget(HOUR, (0.005, 0.020), exact=True)
    assert frame(budget, 10_000, price(0.005, 0.020))[0] == 10_000


def test_chunks_are_worth_their_call() -> None:
    dear = Budget(HOUR, (0.1, 0.0001), exact=True)
    assert dear.chunk(HOUR, 0, 10**6) == dear.rows == 3000
    assert Budget(HOUR, (0.0001, 0.1), exact=True).rows == MOST_ROWS
    assert dear.chunk(HOUR, 0, 7) == 7


def test_chunks_shrink_where_costs_are_uncertain_so_that_a_surprise_fits_the_slack() -> None:
    budget = Budget(250 * MS, (0.0001, 0.001))
    assert budget.rows == MOST_ROWS
    for i in range(100):
        budget.spend(50, 0.0001 + 50 * (0.0007 if i % 2 else 0.0013))
    assert 2 * budget.deviation * budget.rows <= budget.slack * 0.25 < 2 * budget.deviation * (budget.rows + 1)
    assert budget.rows < 30


def test_time_already_gone_is_gone() -> None:
    budget = Budget(100 * MS, (0.0, 0.001), exact=True)
    assert budget.afford(100 * MS, 0, 1000) == 95
    assert budget.afford(100 * MS, 60 * MS, 1000) == 35
    assert budget.afford(100 * MS, 96 * MS, 1000) == 0


def noisy(rng: np.random.Generator, fixed: float, each: float, spread: float, stalls: float):
    def cost(rows: int) -> float:
        seconds = (fixed + rows * each) * float(rng.lognormal(0, spread))
        return seconds + (0.05 if rng.random() < stalls else 0.0)

    return cost


@pytest.mark.parametrize(("spread", "stalls", "most"), [(0.05, 0.0, 0.005), (0.15, 0.0, 0.03), (0.15, 0.002, 0.05)])
def test_under_noise_few_frames_are_late_and_the_time_is_used(spread: float, stalls: float, most: float) -> None:
    late, lags, done = 0, [], 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        budget = Budget(250 * MS, (0.002, 0.0003))  # the card is off by a factor of three
        cost = noisy(rng, 0.002, 0.001, spread, stalls)
        for i in range(600):
            n, lag, _ = frame(budget, 1000, cost)
            if i >= 20:
                late += lag > budget.latency_ns
                lags.append(lag / budget.latency_ns)
                done += n
    assert late <= most * len(lags), late / len(lags)
    assert done / len(lags) > 0.8 * (0.250 * 0.95 - 0.004) / 0.001
    if not stalls:
        assert np.quantile(lags, 0.99) <= 1.02


def test_one_stall_does_not_poison_the_estimate() -> None:
    budget = Budget(250 * MS, (0.0, 0.001))
    for _ in range(20):
        budget.spend(100, 0.1)
    budget.spend(100, 60.0)
    assert budget.each < 0.0012
    assert budget.capacity(0.2) > 150


def test_a_lasting_change_of_cost_is_learnt() -> None:
    budget = Budget(250 * MS, (0.002, 0.001))
    for _ in range(40):
        budget.spend(100, 0.002 + 0.5)
    assert budget.fixed + 100 * budget.each == pytest.approx(0.502, rel=0.05)
    for _ in range(80):
        budget.spend(100, 0.002 + 0.1)
    assert budget.fixed + 100 * budget.each == pytest.approx(0.102, rel=0.05)


def test_the_first_run_is_cold_and_ignored() -> None:
    budget = Budget(250 * MS, (0.002, 0.001))
    budget.spend(100, 9.0)
    assert (budget.fixed, budget.each, budget.deviation) == (0.002, 0.001, 0.0)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_measurement_that_cannot_be_is_ignored(seconds: float) -> None:
    budget = Budget(250 * MS, (0.002, 0.001))
    for _ in range(3):
        budget.spend(10, seconds)
    budget.spend(0, 1.0)
    assert (budget.fixed, budget.each) == (0.002, 0.001)


def test_an_estimate_too_dear_to_be_tried_fades_until_it_is_tried_again() -> None:
    budget = Budget(100 * MS, (0.0, 0.001))
    for _ in range(60):
        budget.spend(1, 5.0)
    assert budget.afford(100 * MS, 0, 50) == 0
    for _ in range(2000):
        frame(budget, 50, price(0, 0.001))
    assert frame(budget, 50, price(0, 0.001))[0] == 50


def test_an_idle_monitor_forgets_nothing() -> None:
    budget = Budget(100 * MS, (0.0, 0.001))
    for _ in range(60):
        budget.spend(10, 0.03)
    before = budget.each
    for _ in range(500):
        frame(budget, 0, price(0, 0.003))
    assert budget.each == before


def test_a_miss_widens_the_slack_and_quiet_narrows_it_within_bounds() -> None:
    budget = Budget(100 * MS, (0.0, 0.001))
    budget.frame_done(101 * MS)
    assert budget.slack == pytest.approx(0.075)
    for _ in range(50):
        budget.frame_done(101 * MS)
    assert budget.slack == 0.25
    for _ in range(1000):
        budget.frame_done(100 * MS)
    assert budget.slack == 0.03


def test_overload_is_told_after_two_frames_and_ended_after_thirty_quiet_ones() -> None:
    budget = Budget(100 * MS, (0.0, 0.001), exact=True)
    told = [frame(budget, 400, price(0, 0.001)) and budget.load.overloaded for _ in range(4)]
    assert told == [False, True, True, True]
    quiet = [frame(budget, 10, price(0, 0.001)) and budget.load.overloaded for _ in range(60)]
    assert quiet[29] and not quiet[-1]
    assert budget.load.ratio < 0.2


def test_a_demand_that_just_fits_is_no_overload() -> None:
    budget = Budget(100 * MS, (0.0, 0.001), exact=True)
    assert not any(frame(budget, 95, price(0, 0.001)) and budget.load.overloaded for _ in range(50))


def test_what_was_learnt_survives_a_restart_but_a_price_stays_as_set() -> None:
    budget = Budget(250 * MS, (0.002, 0.001))
    for seconds in (0.3, 0.31, 0.29, 0.33):
        budget.spend(100, seconds)
    budget.frame_done(300 * MS)
    again = Budget(250 * MS, (0.002, 0.001))
    again.restore(budget.state())
    assert again.afford(250 * MS, 0, 9999) == budget.afford(250 * MS, 0, 9999)
    assert again.chunk(250 * MS, 0, 9999) == budget.chunk(250 * MS, 0, 9999)
    priced = Budget(250 * MS, (0.1, 0.2), exact=True)
    priced.restore(budget.state())
    assert (priced.fixed, priced.each) == (0.1, 0.2)


@pytest.mark.parametrize("wrong", [(0, (0.0, 0.0)), (-5, (0.0, 0.0)), (1, (-1.0, 0.0)), (1, (0.0, math.nan))])
def test_budgets_and_costs_that_make_no_sense_are_refused(wrong: tuple[int, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"budget|costs"):
        Budget(*wrong)
