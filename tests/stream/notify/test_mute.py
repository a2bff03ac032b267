"""Time intervals on routes: nobody is told then, and what is still true is told afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from told import SECOND, T0, Told, message, route, streams

from stream.notify.route import Receiver
from stream.settings import TimeInterval

R = Receiver("r", ("receiver/r",))


@dataclass(frozen=True)
class Minutes:
    """Minutes after T0 that lie in it."""

    name: str
    first: int
    last: int

    def holds(self, time_ns: int) -> bool:
        return self.first <= (time_ns - T0) // (60 * SECOND) < self.last


def test_while_it_is_muted_nobody_is_told_and_then_what_is_still_true() -> None:
    told = Told(route(R, mute=[Minutes("lunch", 1, 10)]))
    told.at(70, message("m1/a", 70), message("m1/b", 70))
    told.at(80, message("m1/b", 80, "resolved", since=70))
    told.until(599)
    assert told.sent == []
    assert told.notifier.suppressed == {"mute_time_interval": 2}
    (why,) = told.notifier.shown(T0 + 599 * SECOND).values()
    assert why.muted_by == ("lunch",)
    (said,) = told.until(700)
    assert (told.sent[0][0], said["reason"], streams(said)) == (600, "mute_ended", ["m1/a"])
    assert told.notifier.shown(T0 + 700 * SECOND) == {}


def test_what_was_told_and_is_over_in_a_mute_is_told_after_it() -> None:
    told = Told(route(R, mute=[Minutes("lunch", 1, 10)]))
    told.at(0, message("m1/a", 0))
    told.until(10)
    told.at(70, message("m1/a", 70, "resolved", since=0))
    told.until(1000)
    assert [(when, said["reason"]) for when, _, said in told.sent] == [(5, "new_group"), (600, "resolved")]


def test_outside_of_its_active_times_a_route_tells_nobody() -> None:
    told = Told(route(R, active=[Minutes("work", 5, 10), Minutes("late", 20, 21)]))
    told.at(0, message("m1/a", 0))
    told.until(299)
    assert (told.sent, told.notifier.suppressed) == ([], {"active_time_interval": 1})
    (why,) = told.notifier.shown(T0 + SECOND).values()
    assert why.muted_by == ("work", "late")
    told.until(301)
    assert [(when, said["reason"]) for when, _, said in told.sent] == [(300, "mute_ended")]


def test_a_repeat_that_falls_into_a_mute_comes_after_it() -> None:
    told = Told(route(R, mute=[Minutes("m", 55, 70)]))
    told.at(0, message("m1/a", 0))
    told.until(3 * 3600, 5.0)
    assert [when for when, _, _ in told.sent] == [5, 70 * 60, 70 * 60 + 3600]


def test_one_route_is_muted_and_the_other_tells() -> None:
    muted = route(Receiver("pager", ("receiver/pager",)), "group=m1", mute=[Minutes("m", 0, 10)], goes_on=True)
    told = Told(route(R), [muted, route(R, "group=~m.")])
    told.at(0, message("m1/a", 0))
    told.until(100)
    assert [sink for _, sink, _ in told.sent] == ["receiver/r"]


def test_intervals_of_the_configuration_hold_by_the_clock_of_their_place() -> None:
    night = TimeInterval.model_validate(
        {"name": "night", "time_intervals": [
            {"times": [{"start_time": "01:00", "end_time": "05:00"}], "location": "Europe/Berlin"}]}
    )  # fmt: skip
    told = Told(route(R, mute=[night]))
    told.at(0, message("m1/a", 0))
    told.until(5 * 3600, 20.0)
    first = told.sent[0][0]
    assert 4 * 3600 <= first <= 4 * 3600 + 20, "05:00 in Berlin is 04:00 UTC"


def test_silenced_and_muted_are_both_shown() -> None:
    from test_silence import silenced

    told = Told(route(R, mute=[Minutes("m", 0, 10)]))
    silenced(told, 0)
    told.at(1, message("m1/a", 1))
    (why,) = told.notifier.shown(T0 + SECOND).values()
    assert (len(why.silenced_by), why.muted_by) == (1, ("m",))
