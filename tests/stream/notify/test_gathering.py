"""Grouping: what is told together, when first, when again, and in which words."""

from __future__ import annotations

from itertools import pairwise

from told import SECOND, T0, Told, message, route, streams

from stream.notify.route import Receiver


def test_the_first_telling_waits_for_others_and_then_tells_them_all() -> None:
    told = Told()
    assert told.at(0, message("m1/a", 0)) == []
    assert told.at(3, message("m1/b", 3), message("m2/a", 3)) == []
    assert told.until(4.5, 0.5) == []
    (first,) = told.at(5)
    assert (streams(first), first["reason"], first["status"]) == (["m1/a", "m1/b"], "new_group", "firing")
    assert first["groupLabels"] == {"alertname": "A", "group": "m1"}
    (second,) = told.until(8)
    assert (streams(second), second["groupLabels"]["group"]) == (["m2/a"], "m2")


def test_without_a_wait_it_is_told_in_the_same_turn() -> None:
    told = Told(route(Receiver("now", ("receiver/now",)), group_wait=0))
    assert len(told.at(7, message("m1/a", 7))) == 1


def test_what_changes_later_waits_for_the_interval_and_then_says_what_is_new() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(10)
    told.at(11, message("m1/b", 11))
    told.at(12, message("m1/a", 12, "resolved", since=0))
    (again,) = told.until(300)
    assert told.sent[-1][0] == 65
    assert (again["reason"], again["status"]) == ("new_alerts", "firing")
    assert (streams(again, "firing"), streams(again, "resolved")) == (["m1/b"], ["m1/a"])
    assert again["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert again["alerts"][1]["endsAt"] == "2026-01-01T00:00:12Z"


def test_after_a_quiet_time_a_new_alert_waits_no_longer_than_a_first_one() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(600)
    told.at(601, message("m1/b", 601))
    told.until(700)
    assert [when for when, _, _ in told.sent] == [5, 606]


def test_some_are_over_then_all_are_over_and_then_it_is_quiet() -> None:
    told = Told()
    told.at(0, message("m1/a", 0), message("m1/b", 0))
    told.until(6)
    told.at(100, message("m1/a", 100, "resolved", since=0))
    told.until(105)
    told.at(200, message("m1/b", 200, "resolved", since=0))
    told.until(20_000, 7.0)
    assert [said["reason"] for _, _, said in told.sent] == ["new_group", "some_resolved", "resolved"]
    assert [said["status"] for _, _, said in told.sent] == ["firing", "firing", "resolved"]
    assert told.rows == {}, "nothing is left of it"


def test_what_goes_on_is_repeated_and_no_sooner() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(3 * 3600 + 100, 2.5)
    assert [when for when, _, _ in told.sent] == [5, 3605, 7205, 10805]
    assert {said["reason"] for _, _, said in told.sent[1:]} == {"repeat"}
    assert len({said["id"] for _, _, said in told.sent}) == 4


def test_an_alert_that_came_and_went_before_anyone_was_told_is_told_once_as_over() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.at(2, message("m1/a", 2, "resolved", since=0))
    told.until(1000)
    ((when, _, said),) = told.sent
    assert (when, said["status"], said["reason"]) == (5, "resolved", "resolved")
    assert said["alerts"][0]["startsAt"] == "2026-01-01T00:00:00Z"


def test_an_alert_that_fires_anew_between_two_tellings_is_told_as_new() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(10)
    told.at(20, message("m1/a", 20, "resolved", since=0))
    told.at(30, message("m1/a", 30))
    (again,) = told.until(200)
    assert (again["reason"], again["alerts"][0]["startsAt"]) == ("new_alerts", "2026-01-01T00:00:30Z")


def test_even_what_ends_and_begins_again_is_told_once_an_interval() -> None:
    told = Told()
    for second in range(0, 600, 2):
        told.at(second, message("m1/a", second, *(["firing"] if second % 4 == 0 else ["resolved"])))
    times = [when for when, _, _ in told.sent]
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))
    assert len(times) >= 9


def test_whoever_does_not_want_to_hear_of_ends_hears_of_none() -> None:
    told = Told(route(Receiver("r", ("receiver/r",), send_resolved=False)))
    told.at(0, message("m1/a", 0), message("m1/b", 0))
    told.until(6)
    told.at(100, message("m1/a", 100, "resolved", since=0))
    told.at(200, message("m1/b", 200, "resolved", since=0))
    told.until(9000, 5.0)
    assert [said["reason"] for _, _, said in told.sent] == ["new_group"]
    assert told.rows == {}


def test_of_too_many_alerts_the_rest_is_counted_and_the_new_ones_are_shown() -> None:
    told = Told(route(Receiver("r", ("receiver/r",), max_alerts=3), group_by=("alertname",)))
    told.at(0, *(message(f"m{i}/a", 0) for i in range(5)))
    (first,) = told.until(6)
    assert (len(first["alerts"]), first["truncatedAlerts"]) == (3, 2)
    told.at(70, message("z/a", 70))
    (second,) = told.until(80)
    assert (second["truncatedAlerts"], "z/a" in streams(second)) == (3, True)
    assert told.until(200) == [], "those left out count as told"


def test_by_three_dots_each_alert_is_told_alone() -> None:
    told = Told(route(Receiver("r", ("receiver/r",)), group_by=("...",)))
    told.at(0, message("m1/a", 0), message("m1/b", 0))
    assert len(told.until(6)) == 2


def test_odd_labels_do_not_mix_groups() -> None:
    told = Told(route(Receiver("r", ("receiver/r",)), group_by=("x", "y")))
    told.at(0, message("a", 0, x='1", y="2'), message("b", 0, x="1", y="2"), message("c", 0, x="1\n"))
    assert len(told.until(6)) == 3


def test_a_notification_has_the_shape_of_alertmanagers_webhook() -> None:
    told = Told(url="http://h:1/")
    told.at(0, message("m1/a", 0, severity="page"), message("m1/b", 0, severity="page"))
    (said,) = told.until(6)
    assert set(said) == {
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts", "reason", "id",
    }  # fmt: skip
    assert (said["version"], said["receiver"], said["externalURL"]) == ("4", "oncall", "http://h:1/")
    assert said["commonLabels"] == {"alertname": "A", "group": "m1", "severity": "page"}
    assert said["commonAnnotations"] == {}
    assert set(said["alerts"][0]) == {
        "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"
    }  # fmt: skip
    assert said["alerts"][0]["generatorURL"].startswith("http://h:1/#alert-")


def test_who_never_matches_a_route_goes_to_the_default_and_continue_goes_on() -> None:
    pager, log, rest = (Receiver(name, (f"receiver/{name}",)) for name in ("pager", "log", "rest"))
    told = Told(
        route(rest),
        [
            route(pager, 'severity="page"', goes_on=True),
            route(log, "severity=~p.*"),
            route(rest, "severity=page"),
        ],
    )
    told.at(0, message("m1/a", 0, severity="page"), message("m1/b", 0, severity="poor"), message("m1/c", 0))
    told.until(6)
    found = sorted((sink, *streams(said)) for _, sink, said in told.sent)
    assert found == [("receiver/log", "m1/a", "m1/b"), ("receiver/pager", "m1/a"), ("receiver/rest", "m1/c")]


def test_a_receiver_with_several_ways_is_told_the_same_by_each() -> None:
    told = Told(route(Receiver("r", ("receiver/r/webhook", "receiver/r/email"))))
    told.at(0, message("m1/a", 0))
    first, second = told.until(6)
    assert first == second
    assert [sink for _, sink, _ in told.sent] == ["receiver/r/webhook", "receiver/r/email"]


def test_time_that_stands_still_or_jumps_does_no_harm() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    assert told.at(0) == []
    assert len(told.at(1_000_000)) == 1
    assert told.notifier.step([], T0 + 999_000 * SECOND).send == []
