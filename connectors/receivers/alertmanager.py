"""Alerts to a Prometheus Alertmanager, or to all of a cluster: POST /api/v2/alerts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from connectors.clock import WallClock
from connectors.receivers.http_post import HttpPoster, rfc3339
from connectors.receivers.notification import alerts_of, texts
from connectors.sink import SinkError

MOST_ALERTS = 256  # in one post
LASTS = 4 * 3600 * 1_000_000_000  # ns: without news for so long an Alertmanager takes a firing alert for resolved
_ODD = re.compile(r"[^a-zA-Z0-9_]")
_NO_TIME = ("", "0001-01-01T00:00:00Z")


class AlertmanagerSink:
    """Posts the alerts of each message to every URL; it is told once one of them took them, as Prometheus has it.

    ``complaint`` names members of a cluster that did not. A firing alert gets an ``endsAt`` that lies ``lasts`` (ns)
    ahead: by then it must have been told again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        poster: HttpPoster,
        name: str = "alertmanager",
        lasts: int = LASTS,
        now: Callable[[], int] | None = None,
    ) -> None:
        self.name, self._poster, self._lasts, self._now = name, poster, lasts, now or WallClock().now
        self._urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in urls]
        self.complaint = ""

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        now, done = self._now(), 0
        for alerts, complete in _chunks(messages):
            body = msgspec.json.encode([_alert(alert, now, self._lasts) for alert in alerts])
            try:
                self._tell(body)
            except SinkError as error:
                error.sent = done
                raise
            done = complete

    def _tell(self, body: bytes) -> None:
        troubles = [error for url in self._urls if (error := self._trouble(url, body)) is not None]
        if len(troubles) == len(self._urls):
            raise next((error for error in troubles if error.tries is None), troubles[0])
        self.complaint = f"{'; '.join(map(str, troubles))}; the others took it" if troubles else ""

    def _trouble(self, url: str, body: bytes) -> SinkError | None:
        try:
            self._poster.post(url, body)
        except SinkError as error:
            return error
        return None

    def close(self) -> None:
        self._poster.close()


def _chunks(messages: Sequence[Mapping[str, object]]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Alerts for one post each, in order, and how many messages are told in full once it went through."""
    waiting: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        waiting += alerts_of(message)
        while len(waiting) > MOST_ALERTS:
            yield waiting[:MOST_ALERTS], number
            waiting = waiting[MOST_ALERTS:]
    if waiting:
        yield waiting, len(messages)


def _alert(alert: Mapping[str, Any], now: int, lasts: int) -> dict[str, Any]:
    labels = {_name(name): value for name, value in texts(alert.get("labels")).items()}
    told = {
        "labels": labels if any(labels.values()) else {"alertname": "unnamed"},
        "annotations": {_name(name): value for name, value in texts(alert.get("annotations")).items()},
        "endsAt": rfc3339(now + lasts),
    }
    starts, ends = _time(alert.get("startsAt")), _time(alert.get("endsAt"))
    if alert.get("status") == "resolved":
        told["endsAt"] = ends or rfc3339(now)
    told |= {"startsAt": starts} if starts else {}
    return told | ({"generatorURL": url} if (url := alert.get("generatorURL")) else {})


def _name(name: str) -> str:
    """A label's name with the characters that every Alertmanager takes."""
    odd = _ODD.sub("_", name) or "_"
    return f"_{odd}" if odd[0].isdigit() else odd


def _time(value: object) -> str | None:
    """RFC 3339 of a time given as text or in ns; None where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return rfc3339(value)
    return str(value) if value and value not in _NO_TIME else None
