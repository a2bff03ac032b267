"""Alerts passed on to an Alertmanager as they are: at once, again and again while they fire, and for a while after.

Alertmanager forgets an alert that it does not hear of, and gathers, repeats and resolves by itself.
"""

from __future__ import annotations

from collections import Counter

from stream.notify.alert import Alert
from stream.notify.gathering import Reason
from stream.notify.route import MINUTE, Route

RESOLVED = 5 * MINUTE  # for which an alert that is over is sent again
MOST = 500  # alerts of one notification
Sending = tuple[list[Alert], Reason]


class Relay:
    """The alerts of one route on their way to the Alertmanager of its receiver. Times in ns, the loop's clock."""

    def __init__(self, route: Route) -> None:
        self.route, self.key = route, route.key
        self.alerts: dict[str, Alert] = {}
        self.due = 0  # when all are sent again
        self.gone: list[Alert] = []  # who is not in here any more, for whoever keeps the alerts
        self.marked: list[Alert] = []  # whose `relayed` has changed, for the same
        self._changed: dict[str, Reason] = {}
        self._counted: set[str] = set()

    def take(self, alert: Alert) -> None:
        """An alert began to fire, or is over."""
        self.join(alert)
        self._changed[alert.fingerprint] = "new_alerts" if alert.firing else "resolved"

    def join(self, alert: Alert) -> None:
        """It belongs here, and will be sent again with the others."""
        if alert.fingerprint not in self.alerts:
            self.alerts[alert.fingerprint] = alert
            alert.held_by += 1

    def rejoin(self, alert: Alert) -> None:
        """After a restart: as before, sent or kept back."""
        self.join(alert)
        if alert.firing and self.key not in alert.relayed:
            self._changed[alert.fingerprint] = "new_alerts"

    def released(self, alert: Alert) -> None:
        """The last silence of an alert has ended."""
        if alert.firing and self.key not in alert.relayed:
            self._changed[alert.fingerprint] = "silence_ended"

    def look(self, now: int, counts: Counter[str], busy: bool) -> list[Sending]:
        """What is to be sent at ``now``; while ``busy`` nothing is sent again, as the last time has not got through."""
        if not self._changed and (now < self.due or not self.alerts):
            return []
        again = now >= self.due
        found = self._changes(now, counts)
        if again:
            self.due = now + self.route.receiver.resend_delay
            found |= {} if busy else {"resend": self._again(now, found)}
            self._forget(now)
        return [(alerts[i : i + MOST], reason) for reason, alerts in found.items() for i in range(0, len(alerts), MOST)]

    def _changes(self, now: int, counts: Counter[str]) -> dict[Reason, list[Alert]]:
        """What changed and may be told, by reason; the rest is kept until its silence or the mute ends."""
        muted = self.route.muted(now)
        found: dict[Reason, list[Alert]] = {}
        for key in list(self._changed):
            alert = self.alerts[key]
            why = "silence" if alert.silenced_by else muted[0] if muted else None
            if why is not None and self.key not in alert.relayed:
                self._hold(alert, why, counts)
                continue
            found.setdefault(self._changed.pop(key), []).append(alert)
            self._mark(alert)
        return found

    def _hold(self, alert: Alert, why: str, counts: Counter[str]) -> None:
        """Who was never passed on and is over meanwhile is let go."""
        if alert.fingerprint not in self._counted:
            self._counted.add(alert.fingerprint)
            counts[why] += 1
        if not alert.firing or why == "silence":
            del self._changed[alert.fingerprint]
        if not alert.firing:
            self._drop(alert)

    def _mark(self, alert: Alert) -> None:
        self._counted.discard(alert.fingerprint)
        if self.key not in alert.relayed:
            alert.relayed.add(self.key)
            self.marked.append(alert)

    def _again(self, now: int, sent: dict[Reason, list[Alert]]) -> list[Alert]:
        """All that was passed on before and is not old."""
        just = {alert.fingerprint for alerts in sent.values() for alert in alerts}
        known = [alert for key, alert in self.alerts.items() if self.key in alert.relayed and key not in just]
        return [alert for alert in known if alert.firing or now - alert.changed_at <= RESOLVED]

    def _forget(self, now: int) -> None:
        for alert in list(self.alerts.values()):
            if not alert.firing and now - alert.changed_at > RESOLVED:
                self._drop(alert)

    def _drop(self, alert: Alert) -> None:
        del self.alerts[alert.fingerprint]
        self._counted.discard(alert.fingerprint)
        alert.relayed.discard(self.key)
        alert.held_by -= 1
        self.gone.append(alert)
