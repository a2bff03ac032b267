"""Evidence, calibration and seasonal tables: against the reference, and the pieces against what they stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_sentinel import MINUTE, Histogram, ReferenceSentinel, Surprises

from models import calibrate, evidence, histogram
from models.evidence import CHANNELS
from models.seasonal import DAY, WEEK, Table
from stream.sentinel import Sentinel

SECOND = 10**9
START = 1_700_000_000 * SECOND
F64 = npt.NDArray[np.float64]


def kinds(steps: int) -> dict[str, F64]:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(9, steps))
    clock = np.arange(steps)
    return {
        "walk": noise[0].cumsum(),
        "noise": noise[1],
        "seasonal": 10 * np.sin(clock / 288 * 2 * np.pi) + noise[2],
        "constant": np.full(steps, 3.0),
        "spiky": np.where(rng.random(steps) < 0.02, rng.exponential(50, steps), 0.01 * noise[3]),
        "huge": 1e12 * (1 + noise[4]),
        "tiny": 1e-200 * noise[5],
        "steps": np.repeat(noise[6, : steps // 50 + 1], 50)[:steps] + 0.01 * noise[7],
        "growing": 2.0 ** (clock / 20) * (1 + 0.1 * noise[8]),
        "shifted": 10 * np.sin(clock / 288 * 2 * np.pi) + noise[3] + 30 * (clock > 800),
        "misplaced": np.where(clock == 0, -999.0, 20 + 0.01 * noise[0]),
    }


# --- the whole against the reference


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("step", [SECOND, MINUTE, 5 * MINUTE, 60 * MINUTE])
def test_columns_say_what_the_plain_reference_says(step: int, lean: bool) -> None:
    streams = kinds(1300)
    sentinel = Sentinel("lean" if lean else "full")
    sentinel.start(range(len(streams)), list(streams), step)
    references = [ReferenceSentinel(name, step, lean) for name in streams]
    values, slots = np.array(list(streams.values())), np.arange(len(streams), dtype=np.int32)
    surprise, p, expected = (np.zeros(values.shape) for _ in range(3))
    for t in range(values.shape[1]):
        ts = START + t * step
        one = sentinel.look(slots, values[:, t], ts, step)
        others = [reference.look(values[i, t], ts) for i, reference in enumerate(references)]
        surprise[:, t] = one.surprise - [other.surprise for other in others]
        p[:, t] = np.log10(one.p) - np.log10([other.p for other in others])
        expected[:, t] = one.expected - [other.expected for other in others]
        assert one.accepted.tolist() == [other.accepted for other in others]
    for i, name in enumerate(streams):
        assert np.mean(np.abs(surprise[i]) > 0.035) <= 0.025, name  # a level of the tables is .031, a count may differ
        assert np.mean(np.abs(p[i]) > 0.07) <= 0.025, name
        assert np.mean(np.abs(expected[i]) > 0.01 * (np.ptp(values[i]) + 1e-300)) <= 0.01, name


@pytest.mark.parametrize("octaves", [-200, 3, 150])
def test_evidence_does_not_depend_on_the_unit_of_a_stream(octaves: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(600, 3)).cumsum(axis=0)
    said = []
    for unit in (1.0, 2.0**octaves, -1.0):
        sentinel = Sentinel()
        sentinel.start(range(3), ["a", "b", "c"], SECOND)
        slots = np.arange(3, dtype=np.int32)
        looks = [sentinel.look(slots, row * unit, START + t * SECOND, SECOND) for t, row in enumerate(values)]
        said.append([(look.surprise.tolist(), look.p.tolist()) for look in looks])
    assert said[0] == said[1] == said[2]


# --- calibration


def test_bits_count_half_octaves() -> None:
    found = calibrate.bits_of(np.array([0, 1e-12, -1, 1, 1.5, 2, 4], np.float32))
    steps = (found[3:] - found[3]) / 2**calibrate.SHIFT
    assert found[0] == found[1] == np.float32(1e-9).view(np.int32)
    assert found[2] == found[3]
    np.testing.assert_array_equal(steps, [0, 1, 2, 4])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e30), min_size=1, max_size=8), st.sampled_from([11, 15]))
def test_evidence_falls_into_the_bin_the_reference_says(values: list[float], bins: int) -> None:
    exact = np.array(values, np.float32)
    base = np.full((1, len(values)), calibrate.NO_BASE, np.int32)
    unset = np.ones(len(values), np.int32)
    first = calibrate.bits_of(np.full((1, len(values)), 1.0, np.float32))
    calibrate.set_bases(first, base, unset, bins)
    assert not unset.any()
    bin, into = calibrate.locate(calibrate.bits_of(exact.copy()[None]), base, bins)
    for i, value in enumerate(exact):
        reference = Histogram(bins)
        reference.place(1.0)
        b, f = reference.place(float(value))
        assert bin[0, i] == b
        assert into[0, i] == pytest.approx(f, rel=1e-6, abs=1e-6)


def test_the_strongest_channel_is_the_first_of_the_largest() -> None:
    surprise = np.random.default_rng(0).uniform(0, 8, (16, 500)).astype(np.float32)
    surprise[:, 0] = 0
    surprise[[3, 9], 1] = 8
    best, row = calibrate.strongest(surprise.copy())
    np.testing.assert_array_equal(row, surprise.argmax(axis=0))
    np.testing.assert_allclose(best, surprise.max(axis=0), rtol=1e-5)
    assert best[0] == 0


def test_the_bar_is_never_below_its_floor() -> None:
    assert calibrate.bar(3600 * SECOND, 0.1) == 3.1
    assert calibrate.bar(SECOND, 0.1) == pytest.approx(np.log10(864_000))


counts = st.lists(st.integers(0, 9000), min_size=15, max_size=15)


@settings(max_examples=80, deadline=None)
@given(st.lists(counts, min_size=1, max_size=4))
def test_a_refresh_does_what_the_reference_does(tables: list[list[int]]) -> None:
    k = len(tables)
    hist = np.zeros((2, k, 16), np.uint16)
    hist[:, :, :15] = np.minimum(np.array(tables), 60_020 // 15)
    hist[1, 0, 2] += 30_000
    base = np.full((2, k), 100 << calibrate.SHIFT, np.int32)
    references = []
    for i in range(k):
        for reference, row in ((Surprises(15), 0), (Histogram(15), 1)):
            reference.h = hist[row, i, :15].astype(int).tolist()
            reference.base = 100 if row else None
            reference.refresh(60_000 if row else 20_000)
            references.append((row, i, reference))
    edges, changed = histogram.refresh(hist, base, np.full(hist.shape[1], 40_000, np.int32))
    for row, i, reference in references:
        assert hist[row, i, :15].tolist() == reference.h
        np.testing.assert_allclose(edges[row, i].astype(float) * 8 / 255, reference.s, atol=0.032)
        if row:
            assert base[row, i] >> calibrate.SHIFT == reference.base
            assert (row * k + i in changed) == (reference.base != 100 or sum(reference.h) < hist[row, i].sum())


def test_counts_are_halved_before_they_overflow() -> None:
    hist = np.zeros((2, 1, 16), np.uint16)
    hist[:, 0, 5:8] = 20_010
    base = np.full((2, 1), calibrate.NO_BASE, np.int32)
    _, changed = histogram.refresh(hist, base, np.full(hist.shape[1], 40_000, np.int32))
    assert changed.tolist() == [0, 1]
    assert (hist[:, 0, 5:8] == 10_005).all()


@given(st.integers(-14, 14).filter(bool), st.lists(st.integers(0, 4_000), min_size=15, max_size=15))
def test_counts_move_bin_by_bin_and_those_that_leave_are_counted_at_the_end(move: int, counts: list[int]) -> None:
    given = np.array([[*counts, 0]], np.uint16)
    expected = np.zeros_like(given)
    for at in range(15):
        expected[0, min(max(at - move, 0), 14)] += given[0, at]
    np.testing.assert_array_equal(histogram._moved(given, move), expected)


def test_the_range_of_a_histogram_follows_the_stream_and_loses_nothing() -> None:
    hist = np.zeros((2, 2, 16), np.uint16)
    hist[1, 0, 14], hist[1, 1, 1] = 500, 500
    base = np.full((2, 2), 50 << calibrate.SHIFT, np.int32)
    histogram.refresh(hist, base, np.full(hist.shape[1], 40_000, np.int32))
    assert base[1, 0] > 50 << calibrate.SHIFT > base[1, 1]
    assert hist[1].sum(axis=1).tolist() == [500, 500]


# --- seasonal tables


def naive_prediction(table: Table, bin: int, stream: int) -> float | None:
    bins = table.season.bins
    parts = [(0.5, (bin - 1) % bins), (1.0, bin), (0.5, (bin + 1) % bins)]
    weights = [w * int(table.count[1 + b, stream]) for w, b in parts]
    total = sum(weights)
    if total < 1:
        return None
    return sum(w * float(table.mean[1 + b, stream]) for w, (_, b) in zip(weights, parts, strict=True)) / total


@pytest.mark.parametrize("season", [DAY, WEEK])
def test_a_table_weighs_a_bin_and_its_neighbours_round_the_clock(season: type[DAY]) -> None:
    table, rng = Table.empty(season, 4), np.random.default_rng(3)
    otherwise = np.array([100, 200, 300, 400], np.float32)
    for _ in range(600):
        bin, at = int(rng.choice([0, 1, 2, season.bins - 1, season.bins // 2])), rng.integers(0, 4, 1)
        table.visit(bin, at, rng.normal(size=1).astype(np.float32))
        ask = int(rng.integers(0, season.bins))
        said = table.predict(ask, slice(0, 4), otherwise)
        for i in range(4):
            naive = naive_prediction(table, ask, i)
            assert said[i] == pytest.approx(otherwise[i] if naive is None else naive, abs=1e-4)
    assert table.count.max() == season.cap


def test_bins_are_hours_of_the_week_and_half_hours_of_the_day_in_utc() -> None:
    period = 1_700_000_000 // 300  # a Tuesday, 22:13:20 UTC
    assert DAY.bin(period) == 44
    assert WEEK.bin(period) == (5 * 24 + 22)  # the epoch's Thursday is day 0
    assert DAY.bins_of(np.array([period, period + 6], np.int32)).tolist() == [44, 45]


def test_a_table_forgets_a_stream_and_moves_another() -> None:
    table = Table.empty(DAY, 2)
    both = slice(0, 2)
    for bin in range(48):
        table.visit(bin, both, np.array([1, 2], np.float32))
    table.shift(np.array([1]), np.array([3], np.float32))
    table.rescale(np.array([1]), np.array([1], np.int32))
    table.clear(np.array([0]))
    assert table.predict(0, both, np.full(2, 9, np.float32)).tolist() == [9, 2.5]


# --- channels


def test_every_profile_names_channels_of_the_full_one() -> None:
    assert evidence.FULL.positions == tuple(range(16)) == tuple(range(len(CHANNELS)))
    names = [CHANNELS[i] for i in evidence.LEAN.positions]
    assert names == ["residual_3", "shift_15", "shift_150", "day", "range", "mean_day", "change", "week"]


def test_one_broken_reading_raises_the_unit_by_a_few_octaves_only() -> None:
    exact, counts = np.zeros((3, 1)), np.zeros((9, 1), np.int32)
    exact[evidence.SCALE] = evidence.NO_SCALE
    evidence.enter(exact, counts, np.array([5.0]))
    x, _ = evidence.outgrown(exact, np.array([5.5]))
    assert 0.5 <= x[0] < 1
    x, grown = evidence.outgrown(exact, np.array([1e300]))
    assert grown is not None and grown[1].tolist() == [evidence.GROWTH]
    assert x[0] == evidence.LIMIT
