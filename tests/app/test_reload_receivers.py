"""Receivers, routes and mute times that change while `heed run` goes on, told by real web servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from listening import WebServer, free_port
from test_reload import Run, begin  # noqa: F401 - a fixture

ALWAYS = {"name": "always", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]}
ROUTE = {"group_wait": "0s", "group_by": ["alertname", "stream"], "receiver": "oncall"}
Begin = Callable[..., Run]


@pytest.fixture
def hooks() -> Iterator[Callable[[], WebServer]]:
    made: list[WebServer] = []

    def make() -> WebServer:
        made.append(WebServer())
        return made[-1]

    yield make
    for each in made:
        each.close()


def hook(name: str, server: WebServer | int) -> dict[str, Any]:
    port = server if isinstance(server, int) else server.port
    return {"name": name, "webhook": {"url": f"http://127.0.0.1:{port}/"}}


def told(server: WebServer) -> list[tuple[str, str, str, str]]:
    """Of which alert, whether it fires, and why."""
    return [
        (each["labels"]["alertname"], each["labels"]["stream"], each["status"], said["reason"])
        for said in server.told
        for each in said["alerts"]
    ]


def test_receivers_and_routes_that_change_are_taken_in_and_nobody_is_told_twice(
    begin: Begin,  # noqa: F811
    hooks: Callable[[], WebServer],
) -> None:
    a, b, c = hooks(), hooks(), hooks()
    run = begin(receivers=[hook("oncall", a)], route=ROUTE)
    run.feed(3, a=350)
    run.until(lambda: told(a) == [("High", "p/a", "firing", "new_group")])
    branch = {"matchers": "alertname=Higher", "receiver": "second"}
    run.configure(receivers=[hook("oncall", b), hook("second", c)], route={**ROUTE, "routes": [branch]})
    said = run.hang_up("config.reloaded")
    assert said["receivers_added"] == ["second"] and said["receivers_changed"] == ["oncall"]
    assert said["taken_in"] == ["receivers", "route"] and run.said("config.restart_needed") == []
    run.feed(3, a=350, b=500)
    run.until(lambda: len(told(b)) == 1 and len(told(c)) == 1)
    assert told(b) == [("High", "p/b", "firing", "new_group")]
    assert told(c) == [("Higher", "p/b", "firing", "new_group")]

    run.configure(receivers=[hook("second", c)])
    assert "oncall" in run.hang_up("config.rejected")["problem"]
    run.feed(3, a=350, b=500, c=350)
    run.until(lambda: len(told(b)) == 2)
    assert told(b)[1] == ("High", "p/c", "firing", "new_group"), "what was in force before goes on"
    assert len(told(a)) == 1
    run.end()


def test_what_waits_for_a_receiver_that_is_taken_away_is_abandoned_and_said(
    begin: Begin,  # noqa: F811
    hooks: Callable[[], WebServer],
) -> None:
    there, branch = hooks(), {"matchers": "alertname=Higher", "receiver": "away"}
    receivers = [hook("oncall", there), hook("away", free_port())]
    run = begin(receivers=receivers, route={**ROUTE, "routes": [branch]})
    run.feed(3, a=500)
    run.until(lambda: len(told(there)) == 1 and run.said("sink.failed"))
    run.configure(receivers=receivers[:1], route=ROUTE)
    assert run.hang_up("config.reloaded")["receivers_removed"] == ["away"]
    (lost,) = run.until(lambda: run.said("notification.abandoned"))
    assert (lost["name"], lost["messages"]) == ("receiver/away", 1)
    run.until(lambda: len(told(there)) == 2)
    assert told(there)[1] == ("Higher", "p/a", "firing", "new_group"), "it falls to the receiver that is left"
    run.end()


def test_a_receiver_whose_address_is_put_right_gets_what_waits_without_a_pause(
    begin: Begin,  # noqa: F811
    hooks: Callable[[], WebServer],
) -> None:
    right = hooks()
    run = begin(receivers=[hook("oncall", free_port())], route=ROUTE)
    run.feed(3, a=350)
    run.until(lambda: run.said("sink.failed"))
    run.configure(receivers=[hook("oncall", right)])
    run.hang_up("config.reloaded")
    run.until(lambda: told(right) == [("High", "p/a", "firing", "new_group")])
    run.until(lambda: run.said("sink.recovered"))
    run.end()


def test_a_mute_that_comes_and_goes_with_the_configuration_holds_meanwhile(
    begin: Begin,  # noqa: F811
    hooks: Callable[[], WebServer],
) -> None:
    a = hooks()
    run = begin(receivers=[hook("oncall", a)], route=ROUTE)
    run.configure(time_intervals=[ALWAYS], route={**ROUTE, "mute_time_intervals": ["always"]})
    assert run.hang_up("config.reloaded")["taken_in"] == ["route", "time_intervals"]
    run.feed(3, a=350)
    run.until(lambda: run.told())
    run.configure(time_intervals=[], route=ROUTE)
    run.hang_up("config.reloaded")
    run.until(lambda: told(a) == [("High", "p/a", "firing", "mute_ended")])
    run.end()
