"""The sentinel on whole recordings of streams: against the reference, and what must not make a difference."""

from __future__ import annotations

import warnings
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import TOKEN_CHANNELS, TOKEN_STEPS
from models.evidence import CHANNELS, TOKENS
from stream.sentinel import Evidence, Sentinel

SECOND = 10**9
MINUTE = 60 * SECOND
START = 1_700_000_000 * SECOND
F64 = npt.NDArray[np.float64]
PROFILES = ("full", "lean")


def started(profile: str, m: int, step: int, names: list[str] | None = None) -> Sentinel:
    sentinel = Sentinel("lean" if profile == "lean" else "full")
    sentinel.start(range(m), names or [f"s{i}" for i in range(m)], step)
    return sentinel


def slots(m: int) -> npt.NDArray[np.int32]:
    return np.arange(m, dtype=np.int32)


def play(sentinel: Sentinel, values: F64, step: int, first: int = 0) -> list[Evidence]:
    """Look at values [step, stream] of all streams."""
    here = slots(values.shape[1])
    return [sentinel.look(here, row, START + (first + t) * step, step) for t, row in enumerate(values)]


def column(said: list[Evidence], name: str) -> npt.NDArray[np.generic]:
    return np.array([getattr(evidence, name) for evidence in said])


def assert_same(one: Evidence, other: Evidence, of: npt.NDArray[np.int32] | slice = slice(None)) -> None:
    for each in fields(Evidence):
        np.testing.assert_array_equal(getattr(one, each.name)[of], getattr(other, each.name), err_msg=each.name)


def daily(rng: np.random.Generator, steps: int, m: int, per_day: int = 288) -> F64:
    wave = 10 * np.sin(2 * np.pi * np.arange(steps) / per_day)
    return wave[:, None] + rng.normal(size=(steps, m))


def mixed(rng: np.random.Generator, steps: int) -> F64:
    """Streams of many kinds, [step, stream]."""
    noise = rng.normal(size=(8, steps))
    return np.stack(
        (
            noise[0].cumsum(),
            daily(rng, steps, 1)[:, 0],
            np.full(steps, 3.0),
            np.where(rng.random(steps) < 0.02, rng.exponential(50, steps), 0),
            1e300 * noise[1],
            1e-300 * noise[2],
            np.repeat(noise[3, : steps // 50 + 1], 50)[:steps],
            np.concatenate(([1e9], 20 + 0.1 * noise[4, 1:])),
        ),
        axis=1,
    )


# --- what must make no difference


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", [SECOND, 5 * MINUTE])
def test_streams_in_scattered_slots_get_the_same_evidence_to_the_last_bit(profile: str, step: int) -> None:
    rng = np.random.default_rng(3)
    values = mixed(rng, 700)
    m = values.shape[1]
    names = [f"s{i}" for i in range(m)]
    dense, wide = started(profile, m, step, names), Sentinel("lean" if profile == "lean" else "full")
    places = np.sort(rng.permutation(40)[:m]).astype(np.int32)
    wide.start(places.tolist(), names, step)
    wide.start([s for s in range(40) if s not in places], [f"other{i}" for i in range(40 - m)], step)
    for t, row in enumerate(values):
        one = dense.look(slots(m), row, START + t * step, step)
        assert_same(one, wide.look(places, row, START + t * step, step))
        rest = np.setdiff1d(slots(40), places).astype(np.int32)
        if t % 3:
            wide.look(rest, rng.normal(size=len(rest)), START + t * step, step)
    np.testing.assert_array_equal(dense.tokens(slots(m)), wide.tokens(places))


def test_many_streams_are_cut_into_chunks_without_a_trace() -> None:
    rng = np.random.default_rng(5)
    m, some = 9001, np.array([0, 17, 4095, 4500, 4501, 9000], np.int32)
    many, few = started("lean", m, SECOND), Sentinel("lean")
    few.start(range(len(some)), [f"s{i}" for i in some], SECOND)
    for t in range(140):
        row = rng.normal(size=m)
        whole = many.look(slots(m), row, START + t * SECOND, SECOND)
        assert_same(whole, few.look(slots(len(some)), row[some], START + t * SECOND, SECOND), some)


@pytest.mark.parametrize("step", [SECOND, MINUTE])
def test_a_checkpoint_goes_on_exactly_where_it_was_taken(step: int) -> None:
    values = mixed(np.random.default_rng(7), 900)
    sentinel = started("full", values.shape[1], step)
    play(sentinel, values[:600], step)
    saved = sentinel.columns()
    again = Sentinel("full")
    again.restore({name: block.copy() for name, block in saved.items()})
    for one, other in zip(play(sentinel, values[600:], step, 600), play(again, values[600:], step, 600), strict=True):
        assert_same(one, other)
    after, replayed = sentinel.columns(), again.columns()
    assert after.keys() == replayed.keys()
    for name, block in after.items():
        np.testing.assert_array_equal(block, replayed[name], err_msg=name)
        assert not block.size or name.startswith(("week", "day")) or not np.array_equal(block, saved[name])


def test_a_checkpoint_of_another_profile_is_refused() -> None:
    saved = started("full", 3, SECOND).columns()
    with pytest.raises(ValueError, match="checkpoint"):
        Sentinel("lean").restore(saved)
    with pytest.raises(ValueError, match="checkpoint"):
        Sentinel("full").restore({})


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("which", [slice(None), slice(0, None, 2)])
def test_without_tokens_it_says_the_same_in_less_room(profile: str, which: slice) -> None:
    values = mixed(np.random.default_rng(8), 300)
    here = slots(values.shape[1])[which]
    whole, bare = started(profile, values.shape[1], SECOND), Sentinel(profile, tokens=False)  # type: ignore[arg-type]
    bare.start(range(values.shape[1]), [f"s{i}" for i in range(values.shape[1])], SECOND)
    for t, row in enumerate(values):
        at = START + t * SECOND
        assert_same(whole.look(here, row[here], at, SECOND), bare.look(here, row[here], at, SECOND))
    assert bare.nbytes < whole.nbytes
    for saved, into in ((bare, Sentinel(profile)), (whole, Sentinel(profile, tokens=False))):  # type: ignore[arg-type]
        into.restore(saved.columns())
        assert_same(saved.look(here, values[0][here], START, SECOND), into.look(here, values[0][here], START, SECOND))


def test_a_slot_used_again_remembers_nothing() -> None:
    rng = np.random.default_rng(9)
    sentinel, fresh = started("full", 4, MINUTE), started("full", 4, MINUTE)
    play(sentinel, 100 * rng.normal(size=(500, 4)), MINUTE)
    sentinel.absent([1, 2])
    sentinel.start(range(4), [f"s{i}" for i in range(4)], MINUTE)
    np.testing.assert_array_equal(sentinel.tokens(slots(4)), 0)
    values = rng.normal(size=(300, 4))
    for one, other in zip(play(sentinel, values, MINUTE), play(fresh, values, MINUTE), strict=True):
        assert_same(one, other)


def test_streams_that_come_later_make_the_columns_grow_without_a_trace() -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(size=(400, 3))
    sentinel, alone = started("full", 3, SECOND), started("full", 3, SECOND)
    for t, row in enumerate(values):
        if t % 50 == 20:
            new = 3 + t // 50
            sentinel.start([new], [f"new{new}"], SECOND if t < 200 else MINUTE)
        said = sentinel.look(slots(3), row, START + t * SECOND, SECOND)
        assert_same(said, alone.look(slots(3), row, START + t * SECOND, SECOND))


def test_a_stream_may_turn_out_to_have_longer_steps_than_it_started_with() -> None:
    values = daily(np.random.default_rng(0), 500, 3)
    late, timely = started("full", 3, SECOND), started("full", 3, 5 * MINUTE)
    for one, other in zip(play(late, values, 5 * MINUTE), play(timely, values, 5 * MINUTE), strict=True):
        assert_same(one, other)


# --- what it says


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_is_unusual_in_the_first_hundred_readings(profile: str) -> None:
    values = 10.0 ** np.random.default_rng(1).normal(size=(130, 5))
    said = play(started(profile, 5, SECOND), values, SECOND)
    assert not column(said[:100], "warm").any()
    assert not column(said[:100], "surprise").any()
    assert (column(said[:100], "p") == 1).all()
    assert column(said[100:], "warm").all()
    assert column(said[100:], "surprise").any()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_spike_is_found_and_explained(profile: str) -> None:
    values = 20 + np.random.default_rng(2).normal(size=(1500, 6))
    values[1400, 3] += 15
    values[1400, 4] -= 15
    last = play(started(profile, 6, 5 * MINUTE), values[:1401], 5 * MINUTE)[-1]
    assert (last.score >= 1).tolist() == [False, False, False, True, True, False]
    assert last.direction[3] == 1 and last.direction[4] == -1
    assert last.p[3] < 1e-3
    assert last.high[3] < values[1400, 3] and last.low[4] > values[1400, 4]
    assert CHANNELS[last.channel[3]] in {"residual_3", "day", "week", "range", "change", "residual_100"}


@pytest.mark.parametrize(("step", "bar"), [(5 * MINUTE, 3.4593925), (SECOND, 5.9365137), (3600 * SECOND, 3.1)])
def test_the_score_is_one_at_the_nominal_rate_of_false_alarms(step: int, bar: float) -> None:
    said = play(started("full", 4, step), np.random.default_rng(4).normal(size=(300, 4)), step)
    np.testing.assert_allclose(column(said, "score") * bar, column(said, "surprise"), rtol=1e-6)


@pytest.mark.parametrize("profile", PROFILES)
def test_p_is_about_uniform_while_nothing_happens(profile: str) -> None:
    said = play(started(profile, 200, SECOND), np.random.default_rng(6).normal(size=(1600, 200)), SECOND)
    p = column(said[600:], "p")
    assert 0.003 <= np.mean(p < 0.01) <= 0.03
    assert 0.05 <= np.mean(p < 0.1) <= 0.15
    assert 0.4 <= np.mean(p < 0.5) <= 0.6
    assert p.min() >= 1e-8 and p.max() <= 1


def test_the_band_holds_nine_readings_of_ten_and_follows_the_day() -> None:
    values = daily(np.random.default_rng(8), 288 * 8, 20)
    said = play(started("full", 20, 5 * MINUTE), values, 5 * MINUTE)[288 * 6 :]
    inside = (column(said, "low") <= values[288 * 6 :]) & (values[288 * 6 :] <= column(said, "high"))
    assert 0.8 <= inside.mean() <= 0.97
    assert np.abs(column(said, "expected") - values[288 * 6 :]).mean() < 1.3


def test_a_stream_of_one_value_is_never_unusual_until_it_moves() -> None:
    values = np.full((600, 2), 7.25)
    values[550, 1] = 7.5
    said = play(started("full", 2, SECOND), values, SECOND)
    assert not column(said, "surprise")[:, 0].any()
    assert (column(said, "expected")[:, 0] == 7.25).all()


def test_a_broken_first_reading_does_not_blind_a_stream() -> None:
    values = 20 + 0.1 * np.random.default_rng(12).normal(size=(1500, 5))
    values[0] = (1e300, -999, 0, 1e9, 20)
    values[1499] += 5
    assert (play(started("full", 5, 5 * MINUTE), values, 5 * MINUTE)[-1].score >= 1).all()


def test_a_broken_reading_later_on_does_not_blind_a_stream() -> None:
    values = 20 + 0.1 * np.random.default_rng(13).normal(size=(1500, 3))
    values[1000] = (1.7e308, -3.4e38, 1e9)
    values[1499] += 5
    assert (play(started("full", 3, 5 * MINUTE), values, 5 * MINUTE)[-1].score >= 1).all()


# --- a level shift that stays


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("by", [30.0, -12.0])
def test_a_level_shift_that_stays_is_accepted_once_and_a_spike_there_is_found(profile: str, by: float) -> None:
    values = daily(np.random.default_rng(14), 4600, 6)
    values[3000:] += by
    values[4500] += 25
    said = play(started(profile, 6, 5 * MINUTE), values, 5 * MINUTE)
    accepted, alarms = column(said, "accepted"), column(said, "score") >= 1
    assert (accepted.sum(axis=0) == 1).all()
    when = accepted.argmax(axis=0)
    assert (when >= 3290).all() and (when < 3400).all()
    assert alarms[3000:3010].any(axis=0).all()
    assert not alarms[3400:4500].any()
    assert alarms[4500].all()


@pytest.mark.parametrize("step", [SECOND, MINUTE, 5 * MINUTE])
def test_an_ordinary_stream_never_accepts_a_new_baseline(step: int) -> None:
    rng = np.random.default_rng(15)
    steps = 4000
    clock = (START // SECOND + np.arange(steps) * step // SECOND) / 86_400
    workday = np.where(clock.astype(int) % 7 < 5, 10.0, 3.0) * np.maximum(np.sin(2 * np.pi * clock), 0)
    near = np.zeros((steps, 1))
    for t in range(1, steps):
        near[t] = 0.99 * near[t - 1] + rng.normal()
    values = np.concatenate((rng.normal(size=(steps, 3)), workday[:, None] + rng.normal(size=(steps, 3)), near), axis=1)
    values = np.concatenate((values, rng.standard_t(2, size=(steps, 2))), axis=1)
    assert not column(play(started("full", 9, step), values, step), "accepted").any()


# --- runs


def test_a_stuck_sensor_is_flat_and_a_stream_that_never_changed_is_not() -> None:
    values = np.random.default_rng(16).normal(size=(300, 3))
    values[:, 0] = 5
    values[200:, 1] = values[200, 1]
    sentinel = started("full", 3, SECOND)
    said = play(sentinel, values, SECOND)
    flat = column(said, "flat")
    assert not flat[:100].any() and not flat[:, 0].any()
    np.testing.assert_allclose(flat[-1], [0, 100 / 4, 1 / 4])
    np.testing.assert_array_equal(sentinel.runs(slots(3))[0], flat[-1])


def test_flatness_is_measured_by_the_longest_run_before() -> None:
    values = np.repeat(np.arange(40.0), 10)
    values = np.concatenate((values, np.full(50, 99.0)))[:, None]
    assert play(started("full", 1, SECOND), values, SECOND)[-1].flat[0] == 5


def test_silence_is_measured_by_the_longest_one_before() -> None:
    sentinel = started("full", 2, SECOND)
    for t in range(60):
        if t % 10 == 0:
            sentinel.look(slots(2), np.array([1.0, 2.0]), START + t * SECOND, SECOND)
        else:
            sentinel.absent([0])
    np.testing.assert_array_equal(sentinel.runs([0, 1])[1], [1, 0])
    for _ in range(18):
        sentinel.absent([0, 1])
    np.testing.assert_array_equal(sentinel.runs([0, 1])[1], [3, 4.5])


# --- tokens


@pytest.mark.parametrize("profile", PROFILES)
def test_tokens_tell_what_is_said_now_and_remember_it_for_a_while(profile: str) -> None:
    values = np.random.default_rng(17).normal(size=(900, 3))
    values[800, 1] += 20
    sentinel = started(profile, 3, 5 * MINUTE)
    said = play(sentinel, values[:801], 5 * MINUTE)[-1]
    tokens = sentinel.tokens(slots(3))
    assert tokens.shape == (3, TOKEN_STEPS, TOKEN_CHANNELS) == (3, 4, len(TOKENS))
    np.testing.assert_array_equal(tokens[:, 0, :16].max(axis=1) * 8, tokens[[0, 1, 2], 0, said.channel] * 8)
    np.testing.assert_allclose(tokens[:, 0, :16].max(axis=1) * 8, said.surprise, rtol=1e-5)
    np.testing.assert_array_equal(tokens[:, 0, 16], said.score)
    assert tokens[1, 0, 17] == 2 and tokens[1, 0, 18] == 2
    play(sentinel, values[801:816], 5 * MINUTE, 801)
    later = sentinel.tokens(slots(3))[1, :, 16] / said.score[1]
    assert later[0] < 0.7 and later[2] >= 0.49 and later[3] >= 0.84
    assert (np.diff(later[1:]) >= 0).all()
    if profile == "lean":
        unused = [c for c in range(16) if CHANNELS[c] in {"residual_100", "shift_5", "mean_30", "drift_day"}]
        assert not tokens[:, :, unused].any()


def test_tokens_of_an_absent_stream_fade_and_go_on_when_it_is_back() -> None:
    values = np.random.default_rng(18).normal(size=(700, 2))
    sentinel = started("full", 2, SECOND)
    play(sentinel, values[:600], SECOND)
    before = sentinel.tokens([1])[0]
    for t in range(600, 616):
        sentinel.look(slots(1), values[t, :1], START + t * SECOND, SECOND)
        sentinel.absent([1])
    away = sentinel.tokens([1])[0]
    assert not away[0].any()
    np.testing.assert_allclose(away[1], before[1] / 16, rtol=1e-5)
    np.testing.assert_allclose(away[2], before[2] / 2, rtol=1e-5)
    sentinel.look(slots(2), values[616], START + 616 * SECOND, SECOND)
    back = sentinel.tokens([1])[0]
    assert (back[2, :17] >= away[2, :17] * 0.95).all() and back[0].any()


# --- anything goes


anything = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(anything, anything), min_size=1, max_size=60), st.sampled_from(PROFILES), st.booleans())
def test_any_finite_readings_are_scored_without_a_warning(
    pairs: list[tuple[float, float]], profile: str, slow: bool
) -> None:
    step = 5 * MINUTE if slow else SECOND
    noise = np.random.default_rng(len(pairs)).normal(size=(120, 2))
    sentinel = started(profile, 2, step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = play(sentinel, np.concatenate((np.array(pairs), noise, np.array(pairs), noise)), step)
    for name in ("surprise", "score", "p", "flat"):
        assert np.isfinite(column(said, name)).all(), name
    for name in ("expected", "low", "high"):
        assert not np.isnan(column(said, name)).any(), name
    surprise, p = column(said, "surprise"), column(said, "p")
    assert (surprise >= 0).all() and (surprise <= 8).all() and (p > 0).all() and (p <= 1).all()
    assert np.isfinite(sentinel.tokens(slots(2))).all()


def test_no_streams_at_all_is_fine() -> None:
    sentinel = Sentinel()
    assert len(sentinel.look(slots(0), np.zeros(0), START, SECOND).score) == 0
    assert sentinel.tokens([]).shape == (0, TOKEN_STEPS, TOKEN_CHANNELS)
    sentinel.start([], [], SECOND)
    assert sentinel.nbytes == 0


@pytest.mark.parametrize(("profile", "most"), [("full", 1750), ("lean", 1024)])
def test_a_stream_at_one_second_steps_costs_little_memory(profile: str, most: int) -> None:
    sentinel = started(profile, 1000, SECOND)
    play(sentinel, np.random.default_rng(0).normal(size=(120, 1000)), SECOND)
    assert sentinel.nbytes <= 1000 * most
