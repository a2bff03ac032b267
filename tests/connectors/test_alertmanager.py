"""A real Alertmanager receives, groups, silences and resolves heed's alerts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from listening import AlertmanagerProcess, WebServer, eventually, notification

from connectors.receivers.alertmanager import AlertmanagerSink
from connectors.receivers.http_post import HttpOptions, HttpPoster


@pytest.fixture(scope="module")
def hook() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hook: WebServer) -> Iterator[AlertmanagerProcess]:
    made = AlertmanagerProcess(tmp_path_factory.mktemp("alertmanager"), hook.url)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def sink(server: AlertmanagerProcess) -> AlertmanagerSink:
    return AlertmanagerSink([server.url], HttpPoster(HttpOptions()))


def rfc(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def now_firing(i: int, alerts: int = 1) -> dict[str, Any]:
    """A notification of alerts that began a minute ago."""
    found = notification(i, alerts=alerts)
    for alert in found["alerts"]:
        alert["startsAt"] = rfc(-1)
    return found


def over(firing: dict[str, Any]) -> dict[str, Any]:
    """The end of it."""
    alerts = [{**alert, "status": "resolved", "endsAt": rfc(0)} for alert in firing["alerts"]]
    return {**firing, "status": "resolved", "alerts": alerts}


def about(server: AlertmanagerProcess, group: str) -> list[Any]:
    return [each for each in server.get("alerts") if each["labels"]["group"] == group]


def told(hook: WebServer, group: str, status: str) -> list[Any]:
    return [each for each in hook.told if each["groupLabels"]["group"] == group and each["status"] == status]


def test_it_receives_alerts_with_all_their_words(server: AlertmanagerProcess, sink: AlertmanagerSink) -> None:
    sink.send([now_firing(1)])
    found = about(server, "incident1")[0]
    assert found["labels"] == {
        "alertname": "Alert1", "group": "incident1", "severity": "warning", "stream": "incident1/s0",
    }  # fmt: skip
    assert found["annotations"] == {"summary": "Alert1 of s0", "description": "far too high"}
    assert found["generatorURL"] == "http://heed/"
    assert found["status"]["state"] in ("unprocessed", "active")
    ahead = datetime.fromisoformat(found["endsAt"]) - datetime.now(UTC)
    assert timedelta(minutes=4) < ahead, "it stays until it is told again"


def test_it_groups_them_and_tells_their_end(
    server: AlertmanagerProcess, sink: AlertmanagerSink, hook: WebServer
) -> None:
    def ended() -> set[str]:
        alerts = [
            alert for each in hook.told if each["groupLabels"]["group"] == "incident2" for alert in each["alerts"]
        ]
        return {alert["labels"]["stream"] for alert in alerts if alert["status"] == "resolved"}

    firing = now_firing(2, alerts=30)
    sink.send([firing])  # it tells of those it has sorted in by then: of what began a while ago it does so at once
    assert eventually(lambda: any(len(each["alerts"]) == 30 for each in told(hook, "incident2", "firing")))
    assert ended() == set()
    sink.send([over(firing)])
    assert eventually(lambda: len(ended()) == 30)
    assert eventually(lambda: about(server, "incident2") == [])


def test_it_silences_them(server: AlertmanagerProcess, sink: AlertmanagerSink, hook: WebServer) -> None:
    silence = {
        "matchers": [{"name": "group", "value": "incident3", "isRegex": False, "isEqual": True}],
        "startsAt": rfc(-1),
        "endsAt": rfc(5),
        "createdBy": "somebody",
        "comment": "works",
    }
    server.post("silences", silence)
    sink.send([now_firing(3), now_firing(4)])
    assert eventually(lambda: told(hook, "incident4", "firing"))
    assert eventually(lambda: [each["status"]["state"] for each in about(server, "incident3")] == ["suppressed"])
    assert told(hook, "incident3", "firing") == []


def test_what_is_told_twice_is_one_alert(server: AlertmanagerProcess, sink: AlertmanagerSink, hook: WebServer) -> None:
    firing = now_firing(5)
    for _ in range(3):
        sink.send([firing])
    assert len(about(server, "incident5")) == 1
    assert eventually(lambda: told(hook, "incident5", "firing"))
    assert len(told(hook, "incident5", "firing")) == 1


def test_odd_names_and_a_thousand_alerts_are_taken(server: AlertmanagerProcess, sink: AlertmanagerSink) -> None:
    many = now_firing(6, alerts=1000)
    many["alerts"][0]["labels"] |= {"site.name": "a b", "2nd": "\ud800", "empty": ""}
    sink.send([many])
    assert len(about(server, "incident6")) == 1000
    odd = next(each for each in about(server, "incident6") if "site_name" in each["labels"])
    assert (odd["labels"]["site_name"], odd["labels"]["_2nd"]) == ("a b", "?")
