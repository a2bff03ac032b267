"""Windows against the plain reference, under all that can happen to readings; and however polls are cut."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_windows import EPOCH, Driver, Frame, Limits, Poll, Reading, Reference, Setting

from connectors.batch import SECOND
from connectors.keeping.store import read_arrays, write_arrays
from stream.aggregate import AGGREGATES, TRANSFORMS

RASTERS = [(SECOND, 0), (SECOND // 4, 0), (2 * SECOND, SECOND // 2), (5 * SECOND, 0), (SECOND, SECOND // 2)]
seeds = st.integers(0, 2**32 - 1)


def kinds(rng: np.random.Generator, n: int) -> dict[str, Setting]:
    """n streams, of all aggregates, transforms and rasters."""
    found = {}
    for i in range(n):
        step, origin = RASTERS[min(rng.integers(0, 8), 4) if i else 0]
        missing = [(), (-999.0,), (-1.0, 0.0)][rng.integers(0, 3)]
        aggregate, transform = AGGREGATES[rng.integers(0, 6)], TRANSFORMS[rng.integers(0, 4)]
        found[f"s{i}"] = Setting(step, origin, aggregate, transform, missing)
    return found


def value_of(rng: np.random.Generator) -> float:
    odd = rng.random()
    if odd < 0.06:
        return float(rng.choice([math.nan, math.inf, -math.inf, -999.0, 1e308, -1e308, 0.0, -1.0]))
    return float(rng.integers(-80, 800)) / 8


def history(
    rng: np.random.Generator, names: Sequence[str], partition: int, spread_s: float, start_s: float = 0, n: int = 60
) -> list[Reading]:
    """Readings of one partition in the order it has them: disorder, pauses, futures; several share an offset."""
    ts = EPOCH + round(start_s * SECOND)
    found: list[Reading] = []
    arrived, offset = ts, int(rng.integers(0, 5))
    for _ in range(n):
        pause = rng.random()
        ts += round(SECOND * float(rng.exponential(0.4) if pause < 0.97 else rng.uniform(3, 40)))
        late = rng.uniform(0, spread_s) if rng.random() < 0.9 else rng.uniform(0, 4 * spread_s + 1)
        own = ts - round(SECOND * late)
        if rng.random() < 0.02:
            own = ts + 100 * SECOND
        arrived = max(arrived, ts + round(SECOND * float(rng.uniform(0, 1))))
        offset += int(rng.integers(0, 3))
        name = names[rng.integers(0, len(names))]
        found.append(Reading(name, own, value_of(rng), arrived, partition, offset, bool(rng.random() < 0.1)))
    return found


def polls_of(rng: np.random.Generator, histories: Sequence[list[Reading]], after: bool = True) -> list[Poll]:
    """Cut what arrives into polls; partitions may lag, are read again, are at their end or not, end and come back."""
    at = [0] * len(histories)
    now = min(h[0].arrived for h in histories) + round(float(rng.uniform(0, 5)) * SECOND)
    last = max(h[-1].arrived for h in histories)
    alive = [True] * len(histories)
    polls = []
    while now <= last + 60 * SECOND:
        readings: list[Reading] = []
        at_end, ended, named = [], [], []
        for p, h in enumerate(histories):
            ready = sum(r.arrived <= now for r in h)
            stop = ready if rng.random() < 0.8 else int(rng.integers(at[p], max(at[p], ready) + 1))
            while 0 < stop < len(h) and h[stop - 1].offset == h[stop].offset:  # a message is read whole
                stop += 1
            begin = at[p]
            if rng.random() < 0.05:
                begin = max(0, begin - int(rng.integers(0, 6)))
            readings += h[begin:stop]
            at[p] = max(at[p], stop)
            alive[p] |= stop > begin
            if alive[p]:
                named.append(p)
                if rng.random() < 0.02 or (at[p] == len(h) and rng.random() < 0.1):
                    ended.append(p)
                    alive[p] = False
                elif at[p] >= ready and rng.random() < 0.8:
                    at_end.append(p)
        polls.append(Poll(now, readings, tuple(named), tuple(at_end), tuple(ended)))
        now += round(float(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 3), rng.uniform(0, 25)])) * SECOND)
    return [*polls, Poll(now, (), ended=tuple(p for p, yes in enumerate(alive) if yes))] if after else polls


def assert_same(found: Sequence[Frame], expected: Sequence[Frame], exact: bool = False) -> None:
    for a, b in zip(found, expected, strict=False):
        assert (a.lane, a.k) == (b.lane, b.k)
        assert (a.due, a.arrived, a.backlog) == (b.due, b.arrived, b.backlog), (a, b)
        assert a.rows.keys() == b.rows.keys()
        for name, row in a.rows.items():
            other = b.rows[name]
            assert (row.present, row.steps, row.valid) == (other.present, other.steps, other.valid), (
                a.k,
                name,
                row,
                other,
            )
            mine, its = [row.value, row.rate, *row.window], [other.value, other.rate, *other.window]
            if exact:
                np.testing.assert_array_equal(mine, its)
            else:
                np.testing.assert_allclose(mine, its, rtol=2e-6, atol=1e-30, equal_nan=True)
    assert len(found) == len(expected)


def limits_of(rng: np.random.Generator) -> Limits:
    return Limits(
        size=int(rng.integers(1, 7)),
        lateness=int(rng.choice([0, SECOND // 3, SECOND, 3 * SECOND, 9 * SECOND])),
        idle=int(rng.choice([2, 10, 10_000])) * SECOND,
        ttl=int(rng.choice([1, 8, 25, 10_000])) * SECOND,
    )


@settings(max_examples=70, deadline=None)
@given(seed=seeds)
def test_windows_say_what_the_plain_reference_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits, streams = limits_of(rng), kinds(rng, int(rng.integers(1, 7)))
    partitions = int(rng.integers(1, 4))
    parts = [[name for i, name in enumerate(streams) if i % partitions == p] or ["s0"] for p in range(partitions)]
    histories = [history(rng, names, p, limits.lateness / SECOND, rng.uniform(0, 20)) for p, names in enumerate(parts)]
    refused = ["s5"]
    driver, reference = Driver(streams, limits, refused), Reference(streams, limits, refused)
    for poll in polls_of(rng, histories):
        found, expected = driver.turn(poll), reference.turn(poll)
        assert_same(found, expected)
        assert driver.windows.counts == reference.counts
        assert driver.windows.marks.now == reference.mark
        assert driver.left == reference.left


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_frames_do_not_depend_on_how_polls_are_cut(seed: int) -> None:
    """Nor on which partition is read first: nobody is idle, and none is told to be at its end."""
    rng = np.random.default_rng(seed)
    limits, streams = replace(limits_of(rng), idle=10**6 * SECOND), kinds(rng, int(rng.integers(1, 7)))
    partitions = int(rng.integers(1, 4))
    names = list(streams)
    parts = [names[p::partitions] or [f"x{p}"] for p in range(partitions)]
    streams |= {name: Setting() for part in parts for name in part if name not in streams}
    histories = [history(rng, part, p, limits.lateness / SECOND, rng.uniform(0, 20)) for p, part in enumerate(parts)]
    histories = [[replace(reading, backlog=False) for reading in h] for h in histories]  # that is about the clock
    whole = Driver(streams, limits)
    expected = whole.turn(
        Poll(EPOCH, [r for h in histories for r in h], tuple(range(partitions)), ended=tuple(range(partitions)))
    )
    for most in (int(rng.integers(1, 4)), 9):
        driver = Driver(streams, limits)
        frames = driver.turn(Poll(EPOCH, named=tuple(range(partitions))))
        at = [0] * partitions
        while any(at[p] < len(h) for p, h in enumerate(histories)):
            p = int(rng.choice([p for p, h in enumerate(histories) if at[p] < len(h)]))
            stop = at[p] + most
            while stop < len(histories[p]) and histories[p][stop - 1].offset == histories[p][stop].offset:
                stop += 1
            frames += driver.turn(Poll(EPOCH, histories[p][at[p] : stop], (p,)))
            at[p] = stop
        frames += driver.turn(Poll(EPOCH, ended=tuple(range(partitions))))
        assert_same(frames, expected, exact=True)
        assert driver.windows.counts == whole.windows.counts


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_future_is_the_same_after_a_checkpoint_at_any_turn(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    limits, streams = replace(limits_of(rng), idle=10**6 * SECOND), kinds(rng, int(rng.integers(1, 7)))
    histories = [history(rng, list(streams)[p::2] or ["s0"], p, limits.lateness / SECOND) for p in range(2)]
    polls = [replace(poll, named=(0, 1), ended=()) for poll in polls_of(rng, histories)]
    driver = Driver(streams, limits)
    turn = int(rng.integers(0, len(polls)))
    for poll in polls[:turn]:
        driver.turn(poll)
    path: Path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.npz"
    write_arrays(path, driver.windows.columns(), {})
    again = Driver(streams, limits)
    again.table = copy.deepcopy(driver.table)
    again.windows.restore(read_arrays(path)[0])
    for poll in polls[turn:]:
        assert_same(again.turn(poll), driver.turn(poll), exact=True)
        assert again.windows.counts == driver.windows.counts
        assert again.windows.marks.now == driver.windows.marks.now


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_ticks_come_in_the_order_of_their_ends_and_none_twice_or_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits, streams = limits_of(rng), kinds(rng, 5)
    histories = [history(rng, list(streams)[p::2], p, limits.lateness / SECOND) for p in range(2)]
    driver = Driver(streams, limits)
    mark = driver.windows.marks.now
    for poll in polls_of(rng, histories):
        driver.turn(poll)
        assert driver.windows.marks.now >= mark
        mark = driver.windows.marks.now
    end, last = 0, {}
    alive: dict[tuple[int, int], set[str]] = {}
    for found in driver.story:
        if isinstance(found, tuple):
            alive = {lane: names - set(found) for lane, names in alive.items()}
            continue
        assert found.end >= end
        assert found.k > last.get(found.lane, found.k - 1)
        if alive.get(found.lane):
            assert found.k == last[found.lane] + 1
        end, last[found.lane], alive[found.lane] = found.end, found.k, set(found.rows)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_next_frame_is_closed_when_next_due_says_and_no_sooner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits, streams = limits_of(rng), kinds(rng, 5)
    histories = [history(rng, list(streams)[p::2], p, limits.lateness / SECOND, n=25) for p in range(2)]
    polls = polls_of(rng, histories, after=False)
    driver = Driver(streams, limits)
    for poll in polls[: int(rng.integers(1, len(polls)))]:
        driver.turn(poll)
    for _ in range(10):
        due = driver.windows.next_due()
        if due is None or due > poll.now + 100 * SECOND:  # one that is behind holds all until it is idle
            return
        if due > poll.now:
            assert copy.deepcopy(driver).turn(Poll(due - 1, at_end=poll.at_end)) == []
        else:  # one that held the others has just ended
            assert poll.ended
        quiet = Poll(max(due, poll.now), at_end=poll.at_end)
        poll = quiet
        left = len(driver.left)
        assert driver.turn(poll) or len(driver.left) > left
