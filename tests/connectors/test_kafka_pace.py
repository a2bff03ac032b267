"""Turns over a backlog stay short, whatever a reading costs."""

from __future__ import annotations

from connectors.kafka.pace import FIRST, STRETCH, TURN, Pace


def run(pace: Pace, each_ns: float, turn_ns: int, packed: int, turns: int = 60) -> list[int]:
    """Readings of each turn over an endless backlog, where a turn costs ``turn_ns`` and so much for each reading."""
    now, found = 1_000, []
    for _ in range(turns):
        pace.over(now)
        readings = pace.records * packed
        found.append(readings)
        pace.came(readings, pace.records, now)
        now += round(turn_ns + each_ns * readings)
    return found


def test_the_first_poll_is_small_and_the_next_as_large_as_configured() -> None:
    assert run(Pace(10_000), 0, 0, 500, 2) == [FIRST * 500, 10_000]
    assert run(Pace(50), 0, 0, 1, 2) == [50, 50]


def test_cheap_readings_come_in_more_at_a_time_up_to_a_limit() -> None:
    assert run(Pace(10_000), 500, 2_000_000, 500)[-1] == STRETCH * 10_000
    assert run(Pace(10_000), 0, 0, 1)[-1] == 10_000  # a clock that stands still says nothing


def test_a_turn_takes_about_as_long_as_it_may() -> None:
    readings = run(Pace(10_000), 2_000, 3_000_000, 100)[-1]
    assert 0.8 * TURN < 3_000_000 + 2_000 * readings < 1.2 * TURN


def test_dear_readings_come_as_few_as_configured() -> None:
    assert run(Pace(10_000), 20_000, 0, 1)[-1] == 10_000


def test_what_is_configured_by_hand_is_kept_to() -> None:
    assert set(run(Pace(300, stretch=1), 10, 0, 1)) == {FIRST, 300}


def test_messages_that_cannot_be_read_are_not_asked_for_in_more() -> None:
    pace, now = Pace(10_000), 0
    run(pace, 500, 0, 500)
    for _ in range(60):  # each costs 100 µs, for its dead letter
        pace.over(now)
        records = pace.records
        pace.came(0, records, now)
        now += 100_000 * records
    assert pace.records == 10_000


def test_small_turns_say_nothing_of_large_ones() -> None:
    pace = Pace(10_000)
    for now in range(0, 10**9, 10**8):  # a few readings every 100 ms, as while nothing waits
        pace.over(now)
        pace.came(20, 20, now)
    assert run(pace, 500, 0, 1)[-1] == STRETCH * 10_000
