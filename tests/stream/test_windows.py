"""Windows by example: each picture is one stream, a letter or digit a reading, a dot a step without one."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from reference_windows import EPOCH, Driver, Frame, Limits, Poll, Reading, Setting

from connectors.batch import SECOND, Batch
from connectors.keeping.store import StoreError
from stream.window_state import MOST_OPEN
from stream.windows import Windows

S = SECOND
offsets = itertools.count()
LIMITS = Limits(size=4, lateness=2 * S, future=60 * S, idle=30 * S, ttl=20 * S)


def at(seconds: float) -> int:
    return EPOCH + round(seconds * S)


def reading(name: str, second: float, value: float = 1.0, partition: int = 0, arrived: float | None = None) -> Reading:
    return Reading(name, at(second), value, at(second if arrived is None else arrived), partition, next(offsets))


def live(now: float, *readings: Reading, partitions: tuple[int, ...] = (0,), ended: tuple[int, ...] = ()) -> Poll:
    return Poll(at(now), readings, partitions, tuple(p for p in partitions if p not in ended), ended)


def driver(limits: Limits = LIMITS, **settings: Setting) -> Driver:
    return Driver({"a": Setting(), "b": Setting(), **settings}, limits)


def seconds(frames: list[Frame]) -> list[int]:
    """When each frame's step starts, in seconds."""
    return [(f.end - f.lane[0] - EPOCH) // S for f in frames]


def values(frames: list[Frame], name: str) -> str:
    """The stream's values as a picture; a blank where it has no window."""
    said = [f.rows.get(name) for f in frames]
    return "".join(" " if row is None else f"{row.value:.0f}" if row.present else "." for row in said)


def test_a_quiet_stream_still_closes_its_windows() -> None:
    #  event time  0 1 2 3 4 5 6 7
    #  a           1 2 . . . .         the clock alone closes the last four
    d = driver()
    frames = d.turn(live(1, reading("a", 0, 1), reading("a", 1, 2)))
    for now in (4, 5, 8):
        frames += d.turn(live(now))
    assert seconds(frames) == [0, 1, 2, 3, 4, 5]
    assert values(frames, "a") == "12...."


def test_a_window_holds_the_last_steps_about_the_first_value() -> None:
    #  a           5 6 . 8 9 .
    #  window            [8 9 . and what came before]
    d = driver()
    frames = d.turn(live(9, *(reading("a", t, v) for t, v in ((0, 5), (1, 6), (3, 8), (4, 9)))))
    expected = [[3, 4], [1, math.nan], [math.nan, 3]]
    np.testing.assert_array_equal([f.rows["a"].window[-2:] for f in (frames[4], frames[2], frames[3])], expected)
    np.testing.assert_array_equal(frames[4].rows["a"].window, [1, math.nan, 3, 4])
    assert [f.rows["a"].valid for f in frames] == [1, 2, 2, 3, 3, 2, 2]
    assert [f.rows["a"].steps for f in frames] == [1, 2, 2, 3, 4, 4, 4]


def test_large_values_keep_their_last_digits() -> None:
    d = driver()
    frames = d.turn(live(9, *(reading("a", t, 1e12 + t / 4) for t in range(5))))
    assert frames[4].rows["a"].window == (0.25, 0.5, 0.75, 1.0)


def test_readings_out_of_order_within_the_lateness_find_their_step() -> None:
    #  arrives     0 3 1 2
    #  steps       0 1 2 3
    d = driver()
    batch = [reading("a", t, t, arrived=3 + i / 10) for i, t in enumerate((0, 3, 1.9, 2))]
    assert values(d.turn(live(9, *batch)), "a")[:4] == "0223"


def test_a_reading_is_late_when_its_step_ends_at_or_before_the_watermark_and_is_counted() -> None:
    d = driver()
    batch = [reading("a", 10), reading("a", 7.5, arrived=10.1), reading("a", 8, arrived=10.2)]
    frames = d.turn(live(20, *batch))
    assert d.windows.counts["late"] == 1
    assert seconds(frames)[0] == 8


def test_future_readings_are_set_aside_and_move_nothing() -> None:
    d = driver()
    d.turn(live(10, reading("a", 10), reading("a", 100, arrived=10)))
    frames = d.turn(live(13, reading("a", 11)))
    assert d.windows.counts["future"] == 1
    assert d.windows.counts["late"] == 0
    assert d.windows.marks.now == at(11)
    assert seconds(frames) == [10]


def test_what_cannot_be_used_is_counted_once_each() -> None:
    d = Driver({"a": Setting(missing=(-999.0,)), "b": Setting()}, LIMITS, refused=("b",))
    odd = [1.0, math.nan, -999.0, math.inf, -math.inf]
    last = reading("b", 10)
    d.turn(live(10, *(Reading("a", at(10), v, at(10), 0, last.offset) for v in odd), last))
    d.turn(live(10, Reading("a", at(10), 1.0, at(10), 0, last.offset)))
    expected = {"readings": 7, "missing": 2, "not_finite": 2, "refused": 1, "duplicate": 1, "late": 0, "future": 0}
    assert d.windows.counts == expected


def test_times_at_the_edges_of_what_can_be_said_stop_nothing() -> None:
    d = driver()
    edge = np.iinfo(np.int64)
    odd = [Reading("a", ts, 1.0, at(10), 0, next(offsets)) for ts in (edge.min, edge.min // 2, 0, edge.max)]
    frames = d.turn(live(10, *odd, reading("a", 10)))
    frames += d.turn(live(20))
    assert d.windows.counts["future"] == 1
    assert seconds(frames)[-1] == 17
    assert len(frames) < 100  # not every second since 1970


def test_a_poll_that_spans_minutes_gives_the_same_frames_as_one_a_second() -> None:
    batch = [reading("a", t, t % 7) for t in range(300) if t % 11] + [
        reading("b", 5 * t, t, 0, 5 * t) for t in range(60)
    ]
    batch.sort(key=lambda r: r.arrived)
    whole, cut = driver(b=Setting(step=5 * S)), driver(b=Setting(step=5 * S))
    expected = whole.turn(Poll(at(300), batch, (0,), (), (0,)))
    frames = []
    for t in range(300):
        frames += cut.turn(Poll(at(t), [r for r in batch if at(t) <= r.ts < at(t + 1)], (0,)))
    frames += cut.turn(Poll(at(300), (), (0,), (), (0,)))
    assert frames and repr(frames) == repr(expected)


def test_frames_of_other_rasters_come_in_the_order_of_their_ends() -> None:
    #  a, 1 s  |0|1|2|3|4|5|
    #  b, 5 s  |0        |5
    d = driver(b=Setting(step=5 * S))
    frames = d.turn(live(20, reading("a", 0), reading("b", 0), reading("a", 6), reading("b", 6)))
    ends = [(f.end - EPOCH) // S for f in frames]
    assert ends == sorted(ends)
    assert [(f.lane[0] // S, (f.end - EPOCH) // S) for f in frames][4:6] == [(1, 5), (5, 5)]


def test_a_finer_raster_that_comes_later_loses_nothing_that_is_open() -> None:
    #  a, 1 s   0 1 2      open when b begins, whose steps are 50 ms: room for 42 steps is wanted, MOST_OPEN given
    d = driver(b=Setting(step=S // 20))
    d.turn(live(2, *(reading("a", t, t + 1) for t in range(3))))
    many = [reading("b", 2 + i / 20, i) for i in range(100)]
    frames = d.turn(live(7, *many)) + d.turn(live(12))
    assert values([f for f in frames if f.lane[0] == S], "a")[:3] == "123"
    fine = [f.rows["b"].value for f in frames if f.lane[0] < S]
    assert fine[:100] == list(range(100))
    assert d.windows._open.room == MOST_OPEN


def test_one_partition_behind_holds_the_frames_of_all_and_then_lets_them_go() -> None:
    d = driver()
    both = (0, 1)
    frames = d.turn(Poll(at(50), [reading("a", t, 1) for t in range(50)], both, (0,)))
    assert frames == []
    frames = d.turn(Poll(at(50), [reading("b", t, 2, partition=1) for t in range(25)], both, (0,)))
    assert seconds(frames) == list(range(22))
    frames += d.turn(Poll(at(50), [reading("b", t, 2, partition=1) for t in range(25, 50)], both, both))
    assert values(frames, "a") == "1" * 48
    assert values(frames, "b") == "2" * 48
    assert d.windows.counts["late"] == 0


def test_a_partition_that_begins_much_earlier_than_another_loses_nothing() -> None:
    #  partition 0            ........0123
    #  partition 1, read next 0123........
    d = driver()
    frames = d.turn(Poll(at(200), [reading("a", 100 + t, t) for t in range(4)], (0, 1)))
    frames += d.turn(Poll(at(200), [reading("b", t, t, partition=1) for t in range(4)], (0, 1)))
    frames += d.turn(Poll(at(200), (), (0, 1), ended=(0, 1)))
    assert d.windows.counts["late"] == 0
    assert values(frames, "b")[:4] == "0123"
    assert values(frames, "a").strip() == "0123"


def test_a_lane_that_begins_behind_the_watermark_does_not_turn_frames_back() -> None:
    #  partition 0, 1 s steps  ......................100     1 is idle and holds nobody
    #  partition 1, 5 s steps  .....50                       speaks at last, of what is long closed
    d = driver(b=Setting(step=5 * S))
    d.turn(live(100, reading("a", 100), partitions=(0, 1)))
    ends = [f.end for f in d.turn(live(110, reading("b", 50, partition=1), partitions=(0, 1)))]
    assert min(ends) > at(100)
    assert d.windows.counts["late"] == 1


def test_a_file_that_ends_is_drained_and_its_streams_leave_without_a_gap() -> None:
    d = driver()
    frames = d.turn(Poll(at(9), [reading("b", 5)] + [reading("a", t) for t in range(4, 10)], (0,), (), (0,)))
    assert values(frames, "a") == "111111"
    assert values(frames, "b") == " 1.   "  # the watermark had passed the gap when the end was told
    assert d.left == [("b",), ("a",)]
    assert d.turn(Poll(at(100))) == []


def test_streams_of_a_file_that_ended_leave_while_others_go_on() -> None:
    d = driver()
    both = (0, 1)
    mine, others = [reading("a", t) for t in range(10)], [reading("b", t, partition=1) for t in range(6)]
    frames = d.turn(live(9, *mine, *others, partitions=both, ended=(1,))) + d.turn(live(20))
    assert d.left == [("b",)]
    assert values(frames, "b") == "111111" + " " * 12


def test_a_stream_that_left_comes_back_as_a_new_one() -> None:
    d = driver()
    d.turn(Poll(at(9), [reading("a", t, 5) for t in range(10)], (0,), (), (0,)))
    frames = d.turn(live(50, *(reading("a", t, 7, partition=1) for t in (40, 41)), partitions=(1,)))
    assert seconds(frames)[0] == 40
    assert frames[1].rows["a"].steps == 2
    np.testing.assert_array_equal(frames[1].rows["a"].window, [math.nan, math.nan, 0, 0])


def test_a_stream_silent_for_the_ttl_is_let_go() -> None:
    #  a   1 . . . . (20 steps of silence)
    d = driver()
    frames = d.turn(live(0, reading("a", 0)))
    for now in range(1, 40):
        frames += d.turn(live(now))
    assert len(frames) == 21
    assert d.left == [("a",)]
    assert d.windows.next_due() is None


@pytest.mark.parametrize("cut", [False, True], ids=["in one poll", "in two polls"])
def test_a_stream_that_returns_after_the_ttl_begins_anew(cut: bool) -> None:
    #  a   1 2 3 . . . (20 steps, then it is let go)      ...      7 8
    d = driver()
    before, after = [reading("a", t, t + 1) for t in range(3)], [reading("a", 100 + t, t + 7) for t in range(2)]
    polls = [Poll(at(0), before, (0,)), Poll(at(0), after, (0,))] if cut else [Poll(at(0), before + after, (0,))]
    frames = [f for poll in polls for f in d.turn(poll)] + d.turn(Poll(at(110), (), (0,), (), (0,)))
    assert values(frames, "a") == "123" + "." * 20 + "78"
    assert seconds(frames)[-2:] == [100, 101]
    assert frames[-1].rows["a"].steps == 2
    assert d.left == [("a",), ("a",)]


def test_a_stream_that_returned_in_the_last_poll_of_its_file_is_drained_too() -> None:
    d = driver()
    keeps = [reading("b", t, partition=1) for t in range(103)]
    mine = [reading("a", t) for t in (0, 100, 101)]
    frames = d.turn(Poll(at(103), mine + keeps, (0, 1), (1,), (0,)))
    frames += d.turn(Poll(at(110), (), (1,), (1,)))
    assert values(frames, "a") == "1" + "." * 20 + " " * 79 + "11" + " " * 6
    assert d.left == [("a",), ("a",)]


def test_a_stream_that_never_brings_a_usable_reading_does_not_stay_for_ever() -> None:
    d = driver()
    d.turn(live(0, reading("a", 0), reading("b", 0, math.nan)))
    for t in range(1, 30):
        d.turn(live(t, reading("a", t)))
    assert d.left == [("b",)]
    assert list(d.table.slot_of) == ["a"]


def test_streams_that_move_to_a_coarser_raster_take_along_what_waits() -> None:
    # What is open belongs to the old steps and is forgotten; what waits for room is sorted into the new ones.
    d = driver()
    waiting = [reading("a", t, t % 10) for t in range(100)]
    d.turn(Poll(at(100), waiting, (0, 1)))  # partition 1 holds: all of it waits
    d.settings["a"] = Setting(step=10 * S)
    d.start([d.table.slot_of["a"]])
    frames = d.turn(Poll(at(100), (), (0, 1), (), (0, 1)))
    assert [f.lane[0] // S for f in frames] == [10] * 10
    assert [f.rows["a"].value for f in frames] == [4.5] * 10
    assert d.left == [("a",)]


def test_a_slot_that_was_released_takes_nothing_from_the_stream_before() -> None:
    d = driver(c=Setting(step=2 * S, aggregate="max", transform="delta"))
    d.turn(Poll(at(50), [reading("a", t, 5) for t in range(50)], (0, 1)))
    slot = d.table.slot_of["a"]
    d.windows.release(np.array([slot], np.int32))
    d.table.release([slot])
    frames = d.turn(Poll(at(60), [reading("c", t, t, partition=1) for t in range(50, 60)], (0, 1), (0, 1)))
    assert d.table.slot_of == {"c": slot}
    assert [f.rows["c"].value for f in frames][1:] == [2.0, 2.0, 2.0]
    assert [f.rows["c"].steps for f in frames] == [0, 1, 2, 3]


def test_frames_say_when_their_last_reading_came_and_whether_all_had_waited() -> None:
    d = driver()
    old = [replace(reading("a", t, arrived=90), backlog=True) for t in (80, 81, 85)]
    new = [reading("a", t, arrived=90 + i) for i, t in enumerate((88, 89))]
    frames = d.turn(live(95, *old, *new))
    told = {second: (f.arrived, f.backlog) for second, f in zip(seconds(frames), frames, strict=True)}
    assert told[80] == (at(90), True)
    assert told[82] == (0, True)  # nothing came, and heed was not up when it was due
    assert told[88] == (at(90), False)
    assert told[90] == (0, True)
    frames = d.turn(live(100))
    assert [(f.arrived, f.backlog) for f in frames] == [(0, f.due <= at(95)) for f in frames]
    assert not frames[-1].backlog


def test_a_frame_is_due_as_much_later_as_its_readings_come_late() -> None:
    d = driver()
    frames = d.turn(live(10, reading("a", 5, arrived=10)))
    assert frames == []
    assert d.windows.next_due() == at(6 + 2 + 5)
    frames = d.turn(live(13))
    assert [f.due for f in frames] == [at(13)]


def test_the_last_partition_to_end_does_not_close_steps_twice() -> None:
    d = driver()
    frames = d.turn(Poll(at(9), [reading("a", t) for t in range(10)], (0,), (), (0,)))
    frames += d.turn(Poll(at(20), [reading("a", t, 2, partition=1) for t in range(5, 20)], (1,), (), (1,)))
    assert seconds(frames) == list(range(20))
    assert d.windows.counts["late"] == 5


def test_an_empty_turn_brings_nothing_and_needs_nothing() -> None:
    d = driver()
    assert d.turn(Poll(at(0))) == []
    assert d.windows.next_due() is None
    assert [column.size for column in d.windows.gone()] == [0, 0]


def test_a_checkpoint_of_windows_of_another_size_is_refused() -> None:
    with pytest.raises(StoreError, match="windows of 4 steps, not 8"):
        Windows(8, 0, 0, 0, 0).restore(driver().windows.columns())


def test_readings_that_wait_long_are_not_sorted_again_with_every_poll() -> None:
    d = driver()
    d.turn(Poll(at(0), [reading("a", 0)], (0, 1)))
    for t in range(1, 200):
        d.turn(Poll(at(0), [reading("a", t)], (0, 1)))
    assert len(d.windows.lanes[0].waiting) < 10
    assert len(d.turn(Poll(at(200), (), (0, 1), ended=(0, 1)))) == 200


def test_a_stream_has_one_rate_whatever_its_step() -> None:
    d = driver(b=Setting(step=5 * S))
    both = [reading(name, t / 2) for t in range(1200) for name in "ab"]
    frames = d.turn(Poll(at(600), both, (0,), (), (0,)))
    rates = {f.lane[0]: r.rate for f in frames for r in f.rows.values()}
    assert list(rates.values()) == [pytest.approx(2.0, rel=0.02)] * 2


def test_batches_without_a_backlog_column_are_new() -> None:
    d = driver()
    d.turn(live(0, reading("a", 0)))
    one = np.ones(1, np.int64)
    d.windows.add(
        Batch(np.zeros(1, np.int32), one * at(5), one * at(5), np.ones(1), np.zeros(1, np.int32), one * next(offsets)),
        at(5),
    )
    assert not any(tick.backlog for tick in d.windows.ticks(at(9)))


def test_what_is_to_come_is_known_before_it_is_closed() -> None:
    d = driver(b=Setting(step=5 * S))
    d.turn(Poll(at(0), [reading(name, t) for t in range(60) for name in "ab"], (0, 1)))  # partition 1 holds it back
    assert d.windows.pending(at(0)) == 0
    d.windows.marks.end((1,))
    to_come = d.windows.pending(at(0))
    assert to_come == len(d.turn(Poll(at(0)))) == 57 + 11
    assert d.windows.pending(at(0)) == 0
