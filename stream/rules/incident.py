"""Incidents: the alerts of one group told together, one incident per group at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stream.rules.change import Change

HOLD = 30_000_000_000  # ns of event time
Status = Literal["opened", "joined", "closed"]


@dataclass(slots=True)
class Incident:
    """What is known of one incident. Alerts by fingerprint, in the order in which they fired."""

    id: str
    group: str
    opened_at: int  # starts_at of its first alert, ns
    quiet_since: int | None = None  # when its last alert was resolved
    closed_at: int | None = None
    firing: dict[str, int] = field(default_factory=dict)  # to starts_at
    alerts: dict[str, int] = field(default_factory=dict)  # all there ever were, to how often each fired


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """An incident was opened, was joined by more alerts, or is closed. Times are event time, ns."""

    id: str
    group: str
    status: Status
    opened_at: int
    closed_at: int | None
    alerts: int  # different alerts so far
    firing: int  # of these, how many fire now
    changes: tuple[Change, ...]  # that opened or joined it


class Incidents:
    """Gathers alert changes by group. An incident closes once all is resolved and ``hold`` has passed since."""

    def __init__(self, hold: int = HOLD) -> None:
        self._hold = hold
        self._open: dict[str, Incident] = {}  # by group
        self.opened = 0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._open)

    def gather(self, changes: Sequence[Change], now_ts: int) -> list[IncidentChange]:
        """Take in what changed up to ``now_ts``, event time; what that means for incidents."""
        told = self._close(min([now_ts, *(change.starts_at for change in changes if change.status == "firing")]))
        by_group: dict[str, list[Change]] = {}
        for change in changes:
            by_group.setdefault(change.group, []).append(change)
        for group, of_group in by_group.items():
            told += self._take(group, of_group)
        return told + self._close(now_ts)

    def _take(self, group: str, changes: list[Change]) -> list[IncidentChange]:
        fired = [change for change in changes if change.status == "firing"]
        status: Status = "joined" if group in self._open else "opened"
        if fired and status == "opened":
            self._open[group] = _opened(group, fired[0].starts_at)
            self.opened += 1
        incident = self._open.get(group)
        if incident is None:
            return []
        for change in changes:
            _note(incident, change)
        return [_told(incident, status, fired)] if fired else []

    def _close(self, now_ts: int) -> list[IncidentChange]:
        over = [
            incident
            for incident in self._open.values()
            if incident.quiet_since is not None and now_ts - incident.quiet_since >= self._hold
        ]
        for incident in over:
            incident.closed_at = now_ts
            del self._open[incident.group]
        self.closed += len(over)
        return [_told(incident, "closed", []) for incident in over]

    def of(self, group: str) -> Incident | None:
        """The open incident of a group."""
        return self._open.get(group)

    def open(self) -> list[Incident]:
        """All open incidents."""
        return list(self._open.values())

    def snapshot(self) -> dict[str, Any]:
        """Open incidents and counts as plain values."""
        rows = [
            {
                "id": incident.id,
                "group": incident.group,
                "opened_at": incident.opened_at,
                "quiet_since": incident.quiet_since,
                "firing": dict(incident.firing),
                "alerts": dict(incident.alerts),
            }
            for incident in self._open.values()
        ]
        return {"incidents": rows, "opened": self.opened, "closed": self.closed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a snapshot again."""
        self.opened, self.closed = state["opened"], state["closed"]
        self.adopt(state["incidents"])

    def adopt(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Open incidents of a snapshot, those of groups that have none here."""
        for row in rows:
            self._open.setdefault(row["group"], Incident(**row))

    def leave(self, groups: Iterable[str]) -> None:
        """Another process goes on with these groups: their incidents are not closed, only no longer here."""
        for group in groups:
            self._open.pop(group, None)


def _opened(group: str, at: int) -> Incident:
    identity = hashlib.sha256(f"{at}\n{group}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Incident(identity, group, at)


def _note(incident: Incident, change: Change) -> None:
    if change.status == "firing":
        incident.firing[change.fingerprint] = change.starts_at
        incident.alerts[change.fingerprint] = incident.alerts.get(change.fingerprint, 0) + 1
        incident.quiet_since = None
    elif incident.firing.pop(change.fingerprint, None) is not None and not incident.firing:
        incident.quiet_since = change.ends_at


def _told(incident: Incident, status: Status, changes: Sequence[Change]) -> IncidentChange:
    return IncidentChange(
        incident.id,
        incident.group,
        status,
        incident.opened_at,
        incident.closed_at,
        len(incident.alerts),
        len(incident.firing),
        tuple(changes),
    )
