"""Routes and receivers that change while alerts fire: who hears of it, and who is not told twice."""

from __future__ import annotations

from told import SECOND, T0, Told, message, route, streams

from stream.notify.notifier import Notifier
from stream.notify.route import Receiver, Routes
from stream.notify.silence import wanted

OLD, NEW = Receiver("old", ("receiver/old",)), Receiver("new", ("receiver/new",))
A = message("m1/a", 0)


def heard(told: Told, since: float = 0) -> list[tuple[str, str, list[str]]]:
    """Who was told from a second on, why, and of what."""
    return [(sink, said["reason"], streams(said)) for when, sink, said in told.sent if when >= since]


def test_another_receiver_hears_at_once_of_what_fires_and_later_of_its_end() -> None:
    told = Told(route(OLD))
    told.at(0, A)
    told.until(10)
    told.reload([A], route(NEW))
    told.at(11)
    told.at(12)
    assert heard(told) == [("receiver/old", "new_group", ["m1/a"]), ("receiver/new", "new_group", ["m1/a"])]
    told.at(100, message("m1/a", 100, "resolved", since=0))
    told.until(200)
    assert heard(told, 100) == [("receiver/new", "resolved", ["m1/a"])]


def test_a_route_that_is_the_same_is_not_told_again_where_another_changes() -> None:
    def pager(receiver: Receiver) -> object:
        return route(receiver, "stream=m1/b")

    b = message("m1/b", 0)
    told = Told(route(Receiver("all", ("receiver/all",))), [pager(OLD)])  # type: ignore[list-item]
    told.at(0, A, b)
    told.until(10)
    told.reload([A, b], route(Receiver("all", ("receiver/all",))), pager(NEW))  # type: ignore[arg-type]
    told.until(3600)
    assert heard(told, 10) == [("receiver/new", "new_group", ["m1/b"])]


def test_alerts_of_a_route_that_is_gone_are_told_with_those_of_the_route_they_fall_to() -> None:
    b = message("m1/b", 0)
    told = Told(route(OLD), [route(NEW, "stream=m1/b")])
    told.at(0, A, b)
    told.until(100)
    told.reload([A, b], route(OLD))
    told.until(110)
    assert heard(told, 100) == [("receiver/old", "new_alerts", ["m1/a", "m1/b"])], "not only when it is repeated"


def test_terms_that_change_hold_for_what_was_told_before() -> None:
    told = Told(route(OLD, repeat_interval=24 * 3600 * SECOND))
    told.at(0, A)
    told.until(100)
    told.reload([A], route(OLD, repeat_interval=600 * SECOND))
    told.until(700)
    assert [when for when, _, _ in told.sent] == [5, 605]


class Always:
    name = "always"

    def holds(self, time_ns: int) -> bool:
        return True


def test_a_mute_that_is_added_holds_at_once_and_one_that_is_taken_away_no_more() -> None:
    told = Told(route(OLD))
    told.reload([], route(OLD, mute=[Always()]))
    told.at(1, A)
    told.until(600)
    assert told.sent == []
    told.reload([A], route(OLD))
    told.until(602)
    assert heard(told) == [("receiver/old", "mute_ended", ["m1/a"])]


def test_silences_outlast_a_reload() -> None:
    told = Told(route(OLD))
    body = {"matchers": ["stream=m1/a"], "duration": "100s", "createdBy": "a", "comment": "c"}
    told.notifier.desk.ask(wanted(body))
    told.at(0)
    told.at(1, A)
    told.reload([A], route(NEW))
    told.until(99)
    assert told.sent == [] and len(told.notifier.silences) == 1
    told.until(110)
    assert heard(told) == [("receiver/new", "silence_ended", ["m1/a"])]


def test_where_nobody_was_told_before_the_first_receiver_hears_of_what_fires_and_none_after_the_last() -> None:
    notifier = Notifier(None)
    notifier.step([A], T0)
    notifier.reroute(Routes(route(NEW, group_wait=0)), [A])
    ((sink, said),) = notifier.step([], T0 + SECOND).send
    assert (sink, streams(dict(said))) == ("receiver/new", ["m1/a"])
    notifier.take_rows()
    notifier.reroute(None, [A])
    assert notifier.step([], T0 + 7200 * SECOND).send == []
    assert set(notifier.take_rows().values()) == {None}, "nothing of it is kept"


def test_an_alertmanager_is_not_told_sooner_again_because_of_a_reload() -> None:
    relay = Receiver("am", (), "receiver/am", resend_delay=60 * SECOND)
    told = Told(route(relay))
    told.at(0, A)
    told.until(10)
    told.reload([A], route(relay), route(NEW, "stream=none"))
    told.until(59)
    assert heard(told) == [("receiver/am", "new_alerts", ["m1/a"])]
    told.until(61)
    assert heard(told, 59) == [("receiver/am", "resend", ["m1/a"])]
