"""Silences: who is not told, until when, and that they hear of it when a silence ends and the alert is still true."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from told import SECOND, T0, Told, message, route, streams

from stream.notify.desk import MOST as MOST_WAITING
from stream.notify.desk import Busy, Desk
from stream.notify.route import Receiver
from stream.notify.silence import KEPT, MOST, Silence, SilenceError, Silences, UnknownSilence, Wanted, wanted

BODY: dict[str, Any] = {
    "matchers": ['group="m1"'], "duration": "10m", "createdBy": "ann", "comment": "press is being cleaned",
}  # fmt: skip


def asked(**more: Any) -> Wanted:
    return wanted({key: value for key, value in {**BODY, **more}.items() if value is not None})


def silenced(told: Told, second: float, **more: Any) -> dict[str, Any]:
    answer = told.notifier.desk.ask(asked(**more))
    told.at(second)
    told.notifier.answer(0)
    return answer.result(0)


def reasons(told: Told) -> list[tuple[float, str]]:
    return [(when, said["reason"]) for when, _, said in told.sent]


def test_while_it_holds_nobody_is_told_and_others_are() -> None:
    told = Told()
    silenced(told, 0)
    told.at(1, message("m1/a", 1), message("m2/a", 1))
    told.until(599)
    assert [streams(said) for _, _, said in told.sent] == [["m2/a"]]
    assert told.notifier.suppressed == {"silence": 1}
    (why,) = told.notifier.shown(T0 + 599 * SECOND).values()
    assert len(why.silenced_by) == 1


def test_when_it_ends_and_the_alert_is_still_true_that_is_told() -> None:
    told = Told()
    silenced(told, 0)
    told.at(1, message("m1/a", 1), message("m1/b", 1))
    told.at(50, message("m1/b", 50, "resolved", since=1))
    told.until(700)
    assert reasons(told) == [(600, "silence_ended")]
    assert streams(told.sent[0][2]) == ["m1/a"], "what came and went in silence is not told"
    assert told.notifier.shown(T0 + 700 * SECOND) == {}


def test_what_was_told_before_a_silence_is_told_again_when_it_ends_and_its_end_is_kept_for_then() -> None:
    told = Told()
    told.at(0, message("m1/a", 0), message("m1/b", 0))
    told.until(10)
    silenced(told, 11)
    told.at(20, message("m1/b", 20, "resolved", since=0))
    told.until(1000)
    assert reasons(told) == [(5, "new_group"), (611, "silence_ended")]
    last = told.sent[-1][2]
    assert (streams(last, "firing"), streams(last, "resolved")) == (["m1/a"], ["m1/b"])


def test_what_ended_in_a_silence_is_told_as_over_when_it_was_told_before() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(10)
    silenced(told, 11)
    told.at(20, message("m1/a", 20, "resolved", since=0))
    told.until(1000)
    assert reasons(told) == [(5, "new_group"), (611, "resolved")]


def test_one_silence_less_is_not_enough_while_another_holds() -> None:
    told = Told()
    silenced(told, 0, duration="1m")
    silenced(told, 0, duration="2m")
    told.at(1, message("m1/a", 1))
    told.until(200)
    assert reasons(told) == [(120, "silence_ended")]


def test_it_can_be_ended_by_hand_and_is_listed_for_a_while() -> None:
    told = Told()
    made = silenced(told, 0)
    told.at(1, message("m1/a", 1))
    told.until(20)
    answer = told.notifier.desk.ask(made["id"])
    told.at(21)
    told.notifier.answer(0)
    assert answer.result(0)["status"] == {"state": "expired"}
    told.until(25)
    assert reasons(told) == [(21, "silence_ended")]
    again = told.notifier.desk.ask(made["id"])
    told.at(26)
    told.notifier.answer(0)
    with pytest.raises(SilenceError, match="over already"):
        again.result(0)
    told.at(21 + KEPT / SECOND)
    assert len(told.notifier.silences) == 0
    assert not [key for key in told.rows if key[0] == "silence"]


def test_a_silence_to_come_is_pending_until_it_begins() -> None:
    told = Told()
    made = silenced(told, 0, startsAt="2026-01-01T00:01:00Z")
    assert (made["status"]["state"], made["endsAt"]) == ("pending", "2026-01-01T00:11:00Z")
    told.at(1, message("m1/a", 1))
    told.until(10)
    told.at(61, message("m1/b", 61))
    told.until(700)
    assert reasons(told) == [(6, "new_group"), (660, "silence_ended")]


def test_a_silence_ends_while_heed_is_down_and_is_told_when_it_is_up() -> None:
    told = Told()
    silenced(told, 0)
    alert = message("m1/a", 1)
    told.at(1, alert)
    told.until(20)
    told.restart([alert])
    told.at(5000)
    assert reasons(told) == [(5000, "silence_ended")]


def test_the_end_of_a_silence_keeps_to_the_interval() -> None:
    told = Told()
    silenced(told, 0, matchers=["stream=m1/a"])
    told.at(571, message("m1/a", 571), message("m1/b", 571))
    told.until(800)
    assert reasons(told) == [(576, "new_group"), (636, "silence_ended")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"createdBy": None}, "createdBy is required"),
        ({"comment": " "}, "comment is required"),
        ({"comment": "x" * 5000}, "at most 4096"),
        ({"matchers": []}, "matchers are needed"),
        ({"matchers": ["group"]}, "is no matcher"),
        ({"matchers": ['group=~"("']}, "regular expression"),
        ({"matchers": ['group=~"(a*)*"']}, "for ever"),
        ({"matchers": ["group=~.*"]}, "silence everything"),
        ({"matchers": ["group!=x"]}, "silence everything"),
        ({"matchers": [{"name": "group"}]}, "a name and a value"),
        ({"matchers": [{"name": "group", "value": "x", "isRegex": 1}]}, "true or false"),
        ({"duration": None}, "endsAt or duration"),
        ({"endsAt": "2026-01-01T01:00:00Z"}, "one of them only"),
        ({"duration": "0s"}, "longer than 0s"),
        ({"duration": 60}, "duration"),
        ({"duration": "a week"}, "not a duration"),
        ({"startsAt": "tomorrow"}, "startsAt: not an RFC 3339 time"),
        ({"endsat": "x"}, "unknown key 'endsat'"),
    ],
)
def test_what_is_no_silence_is_refused_and_it_is_said_why(more: dict[str, Any], said: str) -> None:
    with pytest.raises(SilenceError, match=said):
        asked(**more)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(SilenceError, match="JSON object"):
        wanted(["group=m1"])


def test_the_end_must_come_after_the_beginning_and_after_now() -> None:
    silences = Silences()
    with pytest.raises(SilenceError, match="later than startsAt"):
        silences.add(asked(duration=None, endsAt="2025-12-31T00:00:00Z"), T0)
    with pytest.raises(UnknownSilence, match="no silence 'x'"):
        silences.expire("x", T0)


def test_there_is_a_limit_to_them() -> None:
    silences = Silences()
    for _ in range(MOST):
        silences.add(asked(), T0)
    assert len(silences) == len({each["id"] for each in silences.told(T0)}) == MOST
    with pytest.raises(SilenceError, match=f"{MOST} silences already"):
        silences.add(asked(), T0)


def test_matchers_may_have_alertmanagers_shape_and_rows_keep_everything() -> None:
    row = {"name": "stream", "value": 'a"b\\.*', "isRegex": True, "isEqual": False}
    silences = Silences()
    made = silences.add(asked(matchers=[row, "group=m1,site!=berlin"]), T0)
    assert Silence.restored(made.id, made.row()) == made
    assert made.told(T0)["matchers"][0] == row
    assert made.told(T0)["status"] == {"state": "active"}


def test_the_desk_does_not_grow_without_bound_and_forgets_who_went_away() -> None:
    desk = Desk()
    first: Future[Any] = desk.ask("a")
    first.cancel()
    for _ in range(MOST_WAITING - 1):
        desk.ask("b")
    with pytest.raises(Busy, match="wait already"):
        desk.ask("c")
    assert len(desk.take()) == MOST_WAITING - 1
    assert desk.take() == []


def test_without_receivers_silences_are_kept_all_the_same() -> None:
    from stream.notify.notifier import Notifier

    notifier = Notifier(None)
    answer = notifier.desk.ask(asked())
    assert notifier.step([message("m1/a", 0)], T0).urgent
    notifier.answer(T0)
    assert answer.result(0)["createdBy"] == "ann"
    assert [kind for kind, _ in notifier.take_rows()] == ["silence"]


def test_a_silenced_alert_that_nobody_was_told_of_is_not_repeated_either() -> None:
    told = Told(route(Receiver("r", ("receiver/r",)), repeat_interval=60 * SECOND))
    silenced(told, 0, duration="1h")
    told.at(1, message("m1/a", 1))
    told.until(3599, 2.0)
    assert told.sent == []
