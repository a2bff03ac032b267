"""Routes from settings: what is inherited, which receiver gets which sinks, and what is said of odd ones."""

from __future__ import annotations

from typing import Any

from connectors.batch import SECOND
from connectors.sink import Delivery
from stream.app.notify import notifier_of, routes_of
from stream.app.sinks import sinks_of
from stream.settings import Settings, findings, from_mapping, ways

URL = {"url": "http://127.0.0.1:1"}
NIGHT = {"name": "night", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "06:00"}]}]}


def settings(**more: Any) -> Settings:
    return from_mapping(
        {
            "receivers": [
                {"name": "first", "webhook": URL, "max_alerts": 7, "send_resolved": False},
                {"name": "both", "webhook": URL, "alertmanager": URL, "resend_delay": "30s"},
            ],
            "time_intervals": [NIGHT],
            **more,
        }
    )


def test_without_receivers_nobody_is_told() -> None:
    assert routes_of(from_mapping({})) is None


def test_what_a_route_does_not_say_it_has_of_the_one_above_but_for_times() -> None:
    branch = {"matchers": "a=b", "group_interval": "2m", "group_by": ["x"], "mute_time_intervals": ["night"]}
    route = {"group_wait": "0s", "repeat_interval": "1h", "active_time_intervals": ["night"], "routes": [branch]}
    found = routes_of(settings(route=route))
    assert found is not None
    own, default = found.all
    assert (own.receiver.name, own.group_wait, own.group_interval) == ("first", 0, 120 * SECOND)
    assert (own.repeat_interval, own.group_by, own.goes_on) == (3600 * SECOND, ("x",), False)
    assert ([i.name for i in own.mute], list(own.active)) == (["night"], [])
    assert (default.group_interval, default.group_by) == (60 * SECOND, ("alertname", "group"))
    assert [i.name for i in default.active] == ["night"]
    assert found.of({"a": "b"}) == [own]
    assert found.of({}) == [default]


def test_receivers_have_the_sinks_that_are_made_for_them() -> None:
    given = settings(route={"routes": [{"matchers": "a=b", "receiver": "both"}]})
    found = routes_of(given)
    assert found is not None
    both, first = (route.receiver for route in found.all)
    assert (first.sinks, first.relay) == (("receiver/first",), None)
    assert (both.sinks, both.relay) == (("receiver/both/webhook",), "receiver/both/alertmanager")
    assert (first.max_alerts, first.send_resolved, both.resend_delay) == (7, False, 30 * SECOND)
    made = {name for name in sinks_of(given) if name.startswith("receiver/")}
    assert made == {name for each in given.receivers for name in ways(each).values()}


def test_routes_that_say_the_same_are_two_all_the_same() -> None:
    same = {"matchers": "a=b", "continue": True}
    found = routes_of(settings(route={"routes": [same, same]}))
    assert found is not None
    assert len({route.key for route in found.all}) == 3


def test_what_will_surprise_is_said() -> None:
    quick = {"matchers": "a=b", "repeat_interval": "1s", "mute_time_intervals": ["night"]}
    found = "\n".join(findings(settings(route={"routes": [quick]})))
    assert "route.routes[0].repeat_interval: shorter than group_interval" in found
    assert "receivers[1]: both is never told, no route names it" in found
    assert "nothing uses night" not in found


def test_the_address_that_people_know_is_told() -> None:
    class Nothing:
        def counts(self) -> dict[str, Delivery]:
            return {}

    given = settings(server={"external_url": "https://heed.example.org/"})
    assert notifier_of(given, Nothing(), "http://127.0.0.1:8321/")._url == "https://heed.example.org/"
    assert notifier_of(settings(), Nothing(), "http://127.0.0.1:8321/")._url == "http://127.0.0.1:8321/"
