"""Which partitions wait for others, and which are waited for."""

from __future__ import annotations

from kafka import TopicPartition

from connectors.batch import SECOND
from connectors.kafka.partitions import AHEAD, FAST, HOLD, STALLED, UNPLACED, Partition, balance

NOW = 10_000 * SECOND


def part(number: int, event_time: int | None, behind: int = 100, moved: int = NOW) -> Partition:
    """One that is placed, at ``event_time``, with so many records to read."""
    at = TopicPartition("t", number)
    return Partition(at, f"t/{number}", number, position=50, end=50 + behind, event_time=event_time, moved=moved)


def waiting(*parts: Partition, now: int = NOW) -> list[bool]:
    for each in parts:
        each.wait(UNPLACED, False)
    balance(parts, now)
    return [FAST in each.waits for each in parts]


def test_a_partition_far_ahead_in_event_time_waits_until_the_slowest_has_caught_up() -> None:
    slow, fast, near = part(0, 0), part(1, AHEAD + 1), part(2, AHEAD)
    assert waiting(slow, fast, near) == [False, True, False]
    slow.event_time = SECOND
    assert waiting(slow, fast, near) == [False, False, False]


def test_one_that_is_read_to_its_end_holds_nobody_back() -> None:
    assert waiting(part(0, 0, behind=0), part(1, 10 * AHEAD)) == [False, False]


def test_one_that_brings_nothing_is_not_waited_for_any_longer() -> None:
    slow, fast = part(0, 0), part(1, 10 * AHEAD)
    assert waiting(slow, fast) == [False, True]
    fast.moved = NOW + STALLED
    assert waiting(slow, fast, now=NOW + STALLED) == [False, False]


def test_all_wait_for_one_that_has_something_to_read_and_has_brought_nothing_yet() -> None:
    begun, starting = part(0, 0), part(1, None)
    starting.since = NOW
    assert waiting(begun, starting) == [True, False]
    assert waiting(begun, starting, now=NOW + STALLED) == [False, False]


def test_one_that_waits_for_its_dead_letters_is_not_at_its_end() -> None:
    held, fast = part(0, 0, behind=0), part(1, 10 * AHEAD)
    held.hold(NOW)
    assert waiting(held, fast) == [False, True]
    held.moved = fast.moved = NOW + HOLD
    assert waiting(held, fast, now=NOW + HOLD) == [False, True]
    assert waiting(held, fast, now=NOW + HOLD + 1) == [False, False], "it is left behind"
