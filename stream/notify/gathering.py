"""Alerts that are told together: when, for what reason, and what the receiver has been told of them so far.

As Alertmanager does it, with two differences (docs/decisions/017): it acts when there is something to do, not at every
``group_interval``; and an alert that came and went before anybody was told is told once, as resolved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stream.notify.alert import Alert
from stream.notify.route import MINUTE, Muting, Route

Reason = Literal[
    "new_group", "new_alerts", "some_resolved", "resolved", "repeat", "silence_ended", "mute_ended", "resend"
]
Held = Literal["silence", "mute_time_interval", "active_time_interval"]


@dataclass(frozen=True, slots=True)
class Telling:
    """What is to be told now: those that changed come first, then firing before resolved."""

    alerts: tuple[Alert, ...]
    reason: Reason


class Gathering:
    """One group of alerts on one route. Times are ns on the loop's clock; alerts are known by fingerprint."""

    __slots__ = ("alerts", "back", "due", "gone", "held", "key", "labels", "route", "sent_at", "since", "told")

    def __init__(self, route: Route, labels: Mapping[str, str], key: str) -> None:
        self.route, self.labels, self.key = route, dict(labels), key
        self.alerts: dict[str, Alert] = {}
        self.told: dict[str, str] = {}  # who the receiver knows to fire, and since when
        self.held: dict[str, Held] = {}  # who would have been told, and what was in the way
        self.back: set[str] = set()  # who fires although its silence has ended
        self.since: int | None = None  # when the first change came that was not told yet
        self.sent_at = 0
        self.due: int | None = None
        self.gone: list[Alert] = []  # who is not in here any more, for whoever keeps the alerts

    def take(self, alert: Alert, now: int) -> None:
        """An alert began to fire, or is over."""
        self.join(alert)
        self.since = now if self.since is None else self.since
        self._plan()

    def join(self, alert: Alert) -> None:
        """It belongs here; nothing is to be told because of that."""
        if alert.fingerprint not in self.alerts:
            self.alerts[alert.fingerprint] = alert
            alert.held_by += 1

    def released(self, alert: Alert, now: int) -> None:
        """The last silence of an alert has ended: whoever still fires, and what was kept back, is told."""
        if alert.firing:
            self.back.add(alert.fingerprint)
        self.since = now - self.route.group_wait if self.since is None else self.since
        self._plan()

    def _plan(self) -> None:
        """When to tell what changed; what else was due is told with it."""
        self.due = None if self.since is None else self._earliest(self.since)

    def knows(self, alert: Alert) -> bool:
        """After a restart: whether it was told of an alert that fires, keeps it back, or is about to tell."""
        return alert.fingerprint in self.told or alert.fingerprint in self.held or self.since is not None

    def replan(self) -> None:
        """The route's terms may be others now: what is due sooner by them is."""
        if self.since is not None:
            self._plan()
        elif self.due is not None and self.alerts:
            self.due = min(self.due, self._repeat_at())

    def _earliest(self, since: int) -> int:
        at = since + self.route.group_wait
        return max(at, self.sent_at + self.route.group_interval) if self.sent_at else at

    def look(self, now: int, counts: Counter[str]) -> Telling | None:
        """What is to be told at ``now``, which is then taken as told. ``counts``: suppressed alerts by what did it."""
        if self.since is not None and now < self._earliest(self.since):
            self._plan()
            return None
        muted = self.route.muted(now)
        self._hold(None if muted is None else muted[0], counts)
        telling = None if muted else self._tell(now)
        if telling is None:
            self._leave(now, muted is not None)
            return None
        self._note(telling, now)
        self._leave(now, False)
        return telling

    def _hold(self, muting: Muting | None, counts: Counter[str]) -> None:
        """Note who is kept back; what was never told and is over meanwhile is let go."""
        for alert in list(self.alerts.values()):
            why: Held | None = "silence" if alert.silenced_by else muting
            if why is None or not self._untold(alert):
                continue
            if self.held.get(alert.fingerprint) != why:
                counts[why] += 1
                self.held[alert.fingerprint] = why
            if not alert.firing and alert.fingerprint not in self.told:
                self._drop(alert)

    def _untold(self, alert: Alert) -> bool:
        return not alert.firing or self.told.get(alert.fingerprint) != alert.starts_at

    def _tell(self, now: int) -> Telling | None:
        if not self.route.receiver.send_resolved:
            for alert in [each for each in self.alerts.values() if not each.firing]:
                self._drop(alert)
        heard = [each for each in self.alerts.values() if not each.silenced_by]
        reason = self._reason(heard, now)
        if reason is None:
            return None
        heard.sort(key=lambda each: (not self._untold(each), not each.firing, each.starts_at, each.fingerprint))
        return Telling(tuple(heard), reason)

    def _reason(self, heard: list[Alert], now: int) -> Reason | None:
        fresh = [each for each in heard if each.firing and (self._untold(each) or each.fingerprint in self.back)]
        over = any(not each.firing for each in heard)
        if fresh:
            return self._why_now([each.fingerprint for each in fresh])
        if over:
            return "some_resolved" if any(each.firing for each in heard) else "resolved"
        return "repeat" if heard and now >= self._repeat_at() else None

    def _why_now(self, fresh: list[str]) -> Reason:
        held = [("silence" if each in self.back else self.held.get(each)) for each in fresh]
        if all(held):
            return "silence_ended" if "silence" in held else "mute_ended"
        return "new_alerts" if self.sent_at else "new_group"

    def _repeat_at(self) -> int:
        return self.sent_at + max(self.route.repeat_interval, self.route.group_interval)

    def _note(self, telling: Telling, now: int) -> None:
        """From now on the receiver knows."""
        self.sent_at = now
        for alert in telling.alerts:
            self.held.pop(alert.fingerprint, None)
            self.back.discard(alert.fingerprint)
            if alert.firing:
                self.told[alert.fingerprint] = alert.starts_at
            else:
                self._drop(alert)

    def _drop(self, alert: Alert) -> None:
        """It is over, and nobody waits to hear so."""
        key = alert.fingerprint
        del self.alerts[key]
        self.told.pop(key, None)
        self.held.pop(key, None)
        self.back.discard(key)
        alert.held_by -= 1
        self.gone.append(alert)

    def _leave(self, now: int, muted: bool) -> None:
        """Until when nothing has to be done."""
        if muted and self.alerts:
            self.due = (now // MINUTE + 1) * MINUTE
            return
        self.since = None
        self.due = self._next(now)

    def _next(self, now: int) -> int | None:
        if not self.alerts:
            return self.sent_at + self.route.group_interval
        if any(not each.silenced_by for each in self.alerts.values()):
            return self._repeat_at()
        return None  # until a silence ends

    def over(self, now: int) -> bool:
        """Whether it can be forgotten: nothing is left, and a new alert may be told at once."""
        return not self.alerts and (not self.sent_at or now >= self.sent_at + self.route.group_interval)

    def row(self) -> dict[str, Any]:
        """What the state keeps of it, beside its alerts."""
        return {
            "route": self.route.key,
            "labels": self.labels,
            "told": self.told,
            "over": [key for key, alert in self.alerts.items() if not alert.firing],
            "held": self.held,
            "back": sorted(self.back),
            "since": self.since,
            "sent_at": self.sent_at,
            "due": self.due,
        }

    def restore(self, row: Mapping[str, Any]) -> None:
        """Take up a row again; its alerts follow."""
        self.told, self.held, self.back = dict(row["told"]), dict(row["held"]), set(row["back"])
        self.since, self.sent_at, self.due = row["since"], row["sent_at"], row["due"]
