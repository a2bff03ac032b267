"""Percentiles of lag against exact ones, over a run and over the last minute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.lag import MINUTE, Lags

SECOND = MINUTE // 60


def exact(seconds: np.ndarray, windows: np.ndarray, share: float) -> float:
    order = np.argsort(seconds)
    reached = np.cumsum(windows[order])
    return float(seconds[order][np.searchsorted(reached, share * reached[-1])])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_percentiles_are_within_one_percent_of_the_exact_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    seconds = 10.0 ** rng.uniform(-4.5, rng.uniform(-4, 4), n)
    windows = rng.integers(1, 2000, n)
    lags = Lags()
    for i in range(n):
        lags.add(i, float(seconds[i]), int(windows[i]))
    found = lags.summary()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        right = exact(seconds, windows, share)
        assert abs(found[name] - right) <= 0.01 * right + 1e-6
    assert found["max"] == pytest.approx(seconds.max(), abs=1e-6)
    assert found["p50"] <= found["p99"] <= found["max"]
    assert lags.recent() == found


def test_no_lag_is_zero_and_not_a_little() -> None:
    lags = Lags()
    lags.add(0, 0.0, 100)
    assert lags.summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_nothing_measured_is_zero() -> None:
    assert Lags().summary() == Lags().recent() == {"p50": 0.0, "p99": 0.0, "max": 0.0}


def test_a_frame_without_windows_does_not_count() -> None:
    lags = Lags()
    lags.add(0, 5.0, 0)
    assert lags.summary()["max"] == 0.0


def test_a_lag_beyond_all_bins_is_told_by_the_maximum() -> None:
    lags = Lags()
    lags.add(0, 3e6, 1)
    assert lags.summary()["max"] == 3e6
    assert lags.summary()["p99"] >= 1e5


def test_the_last_minute_forgets_what_was_before_it() -> None:
    lags = Lags()
    lags.add(0, 9.0, 10)
    for second in range(30, 100):
        lags.add(second * SECOND, 0.1, 10)
    assert lags.recent()["max"] == 0.1
    assert lags.summary()["max"] == 9.0
    assert lags.recent()["p99"] == pytest.approx(0.1, rel=0.01)
