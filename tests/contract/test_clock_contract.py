"""What every clock promises, tried on all of them."""

import time
from collections import deque

import pytest

from connectors.clock import (
    Clock,
    NotedClock,
    RecordedClock,
    ReplayClock,
    ShiftedClock,
    Stopwatch,
    SwitchedClock,
    WallClock,
    burn,
)

MS = 1_000_000
CLOCKS = [
    WallClock,
    ReplayClock,
    lambda: ReplayClock(10**18),
    lambda: ReplayClock(10**18, speed=100.0),
    lambda: ShiftedClock(WallClock(), -(10**15)),
    lambda: SwitchedClock(ReplayClock(5)),
    lambda: NotedClock(WallClock(), lambda now: None),
    lambda: RecordedClock(ReplayClock(7), lambda: deque()),
]
NAMES = ["wall", "replay", "replay_from_a_time", "replay_at_a_speed", "shifted", "switched", "noted", "recorded"]


@pytest.fixture(params=CLOCKS, ids=NAMES)
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_it_never_goes_back(clock: Clock) -> None:
    seen = [clock.now()]
    for until in (seen[0] + 2 * MS, seen[0] - 10**15, seen[0] + 3 * MS):
        clock.wait(until)
        seen.append(clock.now())
    clock.charge(0.001)
    seen.append(clock.now())
    assert seen == sorted(seen)


def test_after_a_wait_it_shows_that_time_or_later(clock: Clock) -> None:
    until = clock.now() + 5 * MS
    clock.wait(until)
    assert clock.now() >= until


def test_a_wait_for_what_has_passed_returns_at_once(clock: Clock) -> None:
    watch = Stopwatch()
    clock.wait(clock.now() - 10**15)
    assert watch.seconds() < 10


def test_what_a_charge_costs_is_what_the_clock_moved_by(clock: Clock) -> None:
    before = clock.now()
    cost = clock.charge(5.0)
    assert cost >= 0
    assert abs(clock.now() - before - cost * 1e9) < 4 * 10**9  # real time passes beside it


def test_a_wall_clock_has_paid_already_and_a_replay_clock_moves() -> None:
    assert WallClock().charge(5.0) == 0
    replay = ReplayClock(7)
    assert replay.charge(5.0) == 5.0
    assert replay.now() == 7 + 5 * 10**9


def test_a_wall_clock_shows_the_machine_s_time_even_when_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WallClock()
    now = clock.now()
    assert abs(now - time.time_ns()) < 5 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)
    assert clock.now() == now


def test_a_replay_clock_stands_still_sleeps_as_fast_as_told_and_jumps_without_sleeping() -> None:
    clock, watch = ReplayClock(10**18, speed=10.0), Stopwatch()
    assert clock.now() == clock.now() == 10**18
    clock.wait(10**18 + 20_000 * MS)
    assert 1.9 <= watch.seconds() < 10
    clock.jump(2 * 10**18)
    clock.jump(10**18)
    assert clock.now() == 2 * 10**18
    assert watch.seconds() < 10


def test_burning_uses_the_processor_and_the_stopwatch_sees_both() -> None:
    watch = Stopwatch()
    burn(0.03)
    assert watch.seconds() >= 0.03
    assert 0 < watch.cpu_seconds() <= watch.seconds() + 0.05


def test_what_one_clock_showed_another_shows_again_and_then_goes_on() -> None:
    shown: list[int] = []
    live = NotedClock(ReplayClock(100), shown.append)
    live.now()
    live.charge(2e-9)
    live.now()
    again = deque(shown)
    recorded = RecordedClock(ReplayClock(90), lambda: again)
    assert recorded.now() == 100
    assert recorded.charge(5e-9) == 0  # the times to come have it in them
    assert recorded.now() == 102
    assert recorded.charge(5e-9) == 5e-9
    assert recorded.now() == 107
