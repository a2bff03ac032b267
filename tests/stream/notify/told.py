"""Alert messages, routes and time for tests of the stages between firing and telling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from connectors.batch import SECOND
from stream.notify.matcher import read_matchers
from stream.notify.notifier import Notifier
from stream.notify.route import MINUTE, Receiver, Route, Routes
from stream.rules.change import fingerprint
from stream.rules.message import rfc3339

T0 = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
WAIT, INTERVAL, REPEAT = 5 * SECOND, 60 * SECOND, 3600 * SECOND


def message(name: str, at: int, status: str = "firing", since: int | None = None, **labels: str) -> dict[str, Any]:
    """An alert of rule A on stream ``name`` that changed at ``at`` seconds after T0."""
    own = {"alertname": "A", "stream": name, "group": name.partition("/")[0], **labels}
    start = at if since is None else since
    return {
        "fingerprint": fingerprint(own), "status": status, "labels": own, "annotations": {"summary": f"{name} is off"},
        "starts_at": rfc3339(T0 + start * SECOND),
        "ends_at": None if status == "firing" else rfc3339(T0 + at * SECOND),
    }  # fmt: skip


def route(receiver: Receiver, *matchers: str, **how: Any) -> Route:
    spans = {"group_wait": WAIT, "group_interval": INTERVAL, "repeat_interval": REPEAT}
    return Route(receiver, read_matchers(matchers) if matchers else (), **{**spans, **how})


class Told:
    """A notifier on a clock of seconds, and all that it has told."""

    def __init__(self, default: Route | None = None, routes: Sequence[Route] = (), **how: Any) -> None:
        self.made = default or route(Receiver("oncall", ("receiver/oncall",))), routes, how
        self.notifier = self._new()
        self.rows: dict[Any, Any] = {}
        self.sent: list[tuple[float, str, dict[str, Any]]] = []  # seconds after T0, sink, notification
        self.now = 0.0

    def _new(self) -> Notifier:
        return Notifier(self._routes(), **self.made[2])

    def _routes(self) -> Routes:
        """Made anew, as they are from a configuration."""
        default, routes, _ = self.made
        return Routes(replace(default, _names={}), [replace(each, _names={}) for each in routes])

    def at(self, second: float, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """One turn; what was told in it."""
        self.now = second
        noticed = self.notifier.step(messages, T0 + round(second * SECOND))
        self.sent += [(second, sink, dict(said)) for sink, said in noticed.send]
        self._commit()
        return [dict(said) for _, said in noticed.send]

    def until(self, second: float, every: float = 1.0) -> list[dict[str, Any]]:
        """Turns in which nothing changes; what was told in them."""
        found = []
        while self.now + every <= second:
            found += self.at(self.now + every)
        return found

    def _commit(self) -> None:
        for key, row in self.notifier.take_rows().items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def restart(self, firing: Sequence[dict[str, Any]]) -> None:
        """As after kill -9: what was committed is all there is."""
        import json

        self.notifier = self._new()
        self.notifier.restore({key: json.loads(json.dumps(row)) for key, row in self.rows.items()}, firing)

    def reload(self, firing: Sequence[dict[str, Any]], default: Route | None = None, *routes: Route) -> None:
        """Other routes, or without any the same ones again."""
        self.made = self.made if default is None else (default, routes, self.made[2])
        self.notifier.reroute(self._routes(), firing)


def streams(notification: dict[str, Any], status: str | None = None) -> list[str]:
    return sorted(a["labels"]["stream"] for a in notification["alerts"] if status in (None, a["status"]))


__all__ = ["INTERVAL", "MINUTE", "REPEAT", "SECOND", "T0", "WAIT", "Told", "message", "route", "streams"]
