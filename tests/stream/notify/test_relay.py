"""What an Alertmanager gets: every alert as it is, again and again, and for a while after it is over."""

from __future__ import annotations

from test_mute import Minutes
from test_silence import silenced
from told import Told, message, route, streams

from stream.notify.relay import MOST
from stream.notify.route import Receiver

AM = Receiver("am", relay="receiver/am")


def sent(told: Told) -> list[tuple[float, str, list[str]]]:
    return [(when, said["reason"], streams(said)) for when, _, said in told.sent]


def test_alerts_are_passed_on_at_once_again_every_minute_and_for_five_minutes_after_their_end() -> None:
    told = Told(route(AM))
    told.at(0, message("m1/a", 0))
    told.until(130)
    told.at(150, message("m1/a", 150, "resolved", since=0))
    told.until(1000)
    found = sent(told)
    assert [when for when, _, _ in found] == [0, 60, 120, 150, 180, 240, 300, 360, 420]
    assert [reason for _, reason, _ in found] == ["new_alerts", "resend", "resend", "resolved", *["resend"] * 5]
    assert [said["status"] for _, _, said in told.sent] == ["firing"] * 3 + ["resolved"] * 6
    assert told.rows == {}


def test_nothing_is_gathered_and_nothing_is_left_out() -> None:
    told = Told(route(Receiver("am", relay="receiver/am", max_alerts=2)))
    told.at(0, *(message(f"m{i}/a", 0) for i in range(2 * MOST + 1)))
    assert [len(said["alerts"]) for _, _, said in told.sent] == [MOST, MOST, 1]
    assert len({said["id"] for _, _, said in told.sent}) == 3
    assert {(said["groupKey"], said["truncatedAlerts"]) for _, _, said in told.sent} == {("{}/am", 0)}


def test_nothing_is_sent_again_while_the_last_time_has_not_got_through() -> None:
    waiting = [True]
    told = Told(route(AM), busy=lambda sink: sink == "receiver/am" and waiting[0])
    told.at(0, message("m1/a", 0))
    told.until(3600, 10.0)
    assert len(told.sent) == 1
    told.at(3601, message("m1/b", 3601))
    assert len(told.sent) == 2, "what is new is always sent"
    waiting[0] = False
    told.until(3700, 10.0)
    assert sent(told)[2][1:] == ("resend", ["m1/a", "m1/b"])


def test_what_is_new_is_held_back_by_a_silence_and_what_alertmanager_knows_is_not() -> None:
    told = Told(route(AM))
    told.at(0, message("m1/a", 0))
    silenced(told, 1)
    told.at(2, message("m1/b", 2), message("m1/c", 2))
    told.at(50, message("m1/c", 50, "resolved", since=2))
    told.until(599)
    assert {name for _, _, names in sent(told) for name in names} == {"m1/a"}
    assert told.notifier.suppressed == {"silence": 2}
    told.until(602)
    assert (601, "silence_ended", ["m1/b"]) in sent(told)


def test_a_mute_holds_back_what_is_new_until_it_ends() -> None:
    told = Told(route(AM, mute=[Minutes("m", 0, 2)]))
    told.at(0, message("m1/a", 0), message("m1/b", 0))
    told.at(10, message("m1/b", 10, "resolved", since=0))
    told.until(121)
    assert sent(told) == [(120, "new_alerts", ["m1/a"])]


def test_after_a_restart_all_that_fires_is_sent_at_once_and_what_was_held_back_still_is() -> None:
    told = Told(route(AM))
    alerts = [message("m1/a", 0), message("m2/b", 1)]
    told.at(0, alerts[0])
    silenced(told, 0.5, matchers=["group=m2"])
    told.at(1, alerts[1])
    told.restart(alerts)
    told.at(20)
    assert sent(told)[-1] == (20, "resend", ["m1/a"])
    told.until(700)
    assert (600.5, "silence_ended", ["m2/b"]) not in sent(told)
    assert [reason for _, reason, names in sent(told) if names == ["m2/b"]] == ["silence_ended"]


def test_a_receiver_may_have_an_alertmanager_and_other_ways() -> None:
    told = Told(route(Receiver("both", ("receiver/both/webhook",), "receiver/both/alertmanager")))
    told.at(0, message("m1/a", 0))
    told.until(6)
    assert [(when, sink) for when, sink, _ in told.sent] == [
        (0, "receiver/both/alertmanager"), (5, "receiver/both/webhook"),
    ]  # fmt: skip
