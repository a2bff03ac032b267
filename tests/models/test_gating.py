"""The gate's features: against a plain reference, against hostile numbers, and for what they are meant to see."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import gating

HOSTILE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, 1e-30, 1e30, 1.7e9, 1.7e9 + 1e-6]),
)


def one_group(m: int) -> np.ndarray:
    return np.zeros(m, np.int32)


def feed(values: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Look at [T, m] readings; the features [T, GATE, m] and surprises [T, m]."""
    state, first = gating.begin(values.shape[1])
    looks = [gating.look(state, first, row, group, groups) for row in values]
    return np.array([seen for seen, _ in looks]), np.array([surprise for _, surprise in looks])


class PlainStream:
    """One stream without mates, in plain arithmetic: what the columns must agree with."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = {32: 0.0, 200: 0.0}
        self.dev = {8: 0.0, 32: 0.0, 200: 0.0}
        self.move = {6: 0.0, 32: 0.0}
        self.previous = self.rise = self.fall = 0.0
        self.usual = [[0.0, 0.0] for _ in range(6)]

    def look(self, x: float) -> tuple[list[float], float]:
        grain = 1e-9 * abs(x) + 1e-30
        if self.n == 0:
            self.first = x
        x -= self.first
        fast, slow = x - self.mean[32], x - self.mean[200]
        move = abs(x - self.previous) if self.n else 0.0

        def ratio(distance: float, dev: float) -> float:
            return distance / (1.2533 * dev + grain + 1e-6 * abs(distance))

        z = ratio(slow, self.dev[200])
        own = [abs(ratio(fast, self.dev[32])), abs(z), ratio(move, self.move[32])]
        warm_before = self.n > 16
        z = max(-4.0, min(4.0, z)) if warm_before else 0.0
        self.rise = min(8.0, max(0.0, self.rise + z - 0.5))
        self.fall = min(8.0, max(0.0, self.fall - z - 0.5))
        self.advance(x, abs(fast), abs(slow), move)
        own.append(2 * math.log((self.dev[8] + grain) / (self.dev[200] + grain)))
        own.append(max(self.rise, self.fall))
        stuck = math.log((self.move[32] + grain) / (self.move[6] + grain))
        warm = self.n > 16
        judged = [self.judge(i, max(-50.0, min(50.0, f)) if warm else 0.0) for i, f in enumerate([*own, stuck])]
        return judged[:5], max(0.0, *judged)

    def advance(self, x: float, fast: float, slow: float, move: float) -> None:
        for table, new in ((self.mean, x), (self.move, move)):
            for horizon in table:
                table[horizon] += max(1 / (self.n + 1), 1 / horizon) * (new - table[horizon])
        for horizon in self.dev:
            new = slow if horizon == 200 else fast
            self.dev[horizon] += max(1 / (self.n + 1), 1 / horizon) * (new - self.dev[horizon])
        self.previous = x
        self.n += 1

    def judge(self, i: int, feature: float) -> float:
        mean, dev = self.usual[i]
        seen = self.n - 16
        if seen <= 0:
            return 0.0
        unit = dev + 0.1
        unusual = (feature - mean) / unit
        limit = 8.0 if seen > 32 else 1e6
        learnt = max(-limit, min(limit, unusual)) * unit
        rate = max(1 / seen, 1 / 300)
        self.usual[i] = [mean + rate * learnt, dev + rate * (abs(learnt) - dev)]
        return max(-50.0, min(50.0, unusual)) if self.n > 32 else 0.0


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_columns_agree_with_a_plain_stream(offset: float) -> None:
    rng = np.random.default_rng(3)
    values = offset + np.cumsum(rng.normal(size=600)) * 0.1 + rng.normal(size=600)
    values[400:440] += 9
    values[500:530] = values[499]
    seen, surprise = feed(values[:, None], one_group(1), 1)
    plain = PlainStream()
    for t, value in enumerate(values):
        features, greatest = plain.look(value)
        # A stream without mates is compared with nothing: its relative features are its own.
        np.testing.assert_allclose(seen[t, :5, 0], features, rtol=0.02, atol=0.02, err_msg=f"step {t}")
        np.testing.assert_allclose(seen[t, 5:, 0], features, rtol=0.02, atol=0.02)
        assert surprise[t, 0] == pytest.approx(greatest, rel=0.02, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=8), st.integers(1, 30))
def test_no_reading_makes_the_features_overflow(pattern: list[tuple[float, float]], times: int) -> None:
    values = np.array(pattern * times)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        seen, surprise = feed(values, one_group(2), 1)
    assert np.isfinite(seen).all() and np.isfinite(surprise).all()
    assert np.abs(seen).max() <= 50


def test_a_stream_that_never_moves_is_no_surprise() -> None:
    _, surprise = feed(np.full((3000, 2), 7.25), one_group(2), 1)
    assert surprise.max() == 0


def test_the_first_move_of_a_stream_that_never_moved_is_a_surprise() -> None:
    values = np.full((301, 2), 7.25)
    values[300, 1] += 0.5
    _, surprise = feed(values, one_group(2), 1)
    assert surprise[300, 1] > 20 and surprise[300, 0] == 0


def test_a_new_stream_says_nothing_until_it_has_settled() -> None:
    values = np.random.default_rng(0).normal(size=(200, 4))
    seen, surprise = feed(values, one_group(4), 1)
    assert not seen[: gating.SETTLED].any() and not surprise[: gating.SETTLED].any()
    assert surprise[gating.SETTLED + 1 :].max() > 0


def test_a_shift_of_one_stream_stands_out_from_a_surge_of_a_whole_group() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(500, 40))
    group = np.repeat([0, 1], 20).astype(np.int32)
    values[450:, 20:] += 4  # the whole second group surges
    values[450:, 3] += 4  # one stream of the first group shifts
    _, surprise = feed(values, group, 2)
    after = surprise[452]
    assert after[3] > 1.5 * after[20:].max()


def test_a_sensor_that_is_stuck_is_a_surprise() -> None:
    values = np.random.default_rng(6).normal(size=(500, 20))
    values[450:, 4] = values[449, 4]
    _, surprise = feed(values, one_group(20), 1)
    assert surprise[465].argmax() == 4


def test_a_stream_that_grows_noisy_is_a_surprise() -> None:
    values = np.random.default_rng(7).normal(size=(500, 20))
    values[450:, 9] *= 4
    _, surprise = feed(values, one_group(20), 1)
    assert surprise[452:462].max(axis=0).argmax() == 9


def test_units_and_offsets_do_not_change_what_is_seen() -> None:
    values = np.random.default_rng(8).normal(size=(300, 1))
    plain, _ = feed(values, one_group(1), 1)
    other, _ = feed(1e5 + 3e-2 * values, one_group(1), 1)
    np.testing.assert_allclose(other, plain, rtol=0.01, atol=0.05)


GROUPED = st.lists(st.tuples(st.floats(0, 100, width=32), st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(GROUPED)
def test_what_the_others_say_leaves_oneself_out(rows: list[tuple[float, int, bool]]) -> None:
    feature = np.array([f for f, _, _ in rows], np.float32)
    group = np.array([g for _, g, _ in rows], np.int32)
    counted = np.array([c for _, _, c in rows])
    mean = gating.others_mean(feature[None], group, 5, counted)[0]
    most = gating.others_max(feature, group, 5)
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i and group[j] == group[i]]
        warm = [feature[j] for j in others if counted[j]]
        assert mean[i] == pytest.approx(np.mean(warm) if warm else 0, rel=1e-4, abs=1e-3)
        assert most[i] == max((feature[j] for j in others), default=0)


def test_the_inputs_tell_a_fresh_score_from_an_old_one() -> None:
    last, age = np.array([1.5, 1.5, -1, 9], np.float32), np.array([0, 60, 5, 12], np.float32)
    group = np.array([0, 0, 1, 1], np.int32)
    x = gating.inputs(np.zeros((gating.GATE, 4), np.float32), np.arange(4, dtype=np.float32), last, age, group, 2)
    assert x.shape == (4, gating.INPUTS) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_allclose(x[:, 10], [0, 1, 2, 3])
    np.testing.assert_allclose(x[:, 11], [1.5, 1.5, -1, 2])
    np.testing.assert_allclose(x[:, 12], np.log1p(age) / 3, rtol=1e-6)
    echo = [1.5, 1.5 * math.exp(-5), 0, 2 * math.exp(-1)]
    np.testing.assert_allclose(x[:, 13], echo, rtol=1e-5)
    np.testing.assert_allclose(x[:, 14], [echo[1], echo[0], echo[3], 0], rtol=1e-5)
    np.testing.assert_allclose(x[:, 15], [echo[1], echo[0], echo[3], 0], rtol=1e-5, atol=1e-7)
