"""What the HTTP interface says of a snapshot: plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.ledger import FULL, LITE, OUTCOMES, SENTINEL, SHED, Counts
from stream.notify.notifier import Suppressed
from stream.rules.message import rfc3339
from stream.web.ranking import Slots, first, matching
from stream.web.snapshot import SECOND, Moment, Row, Snapshot, Streams

ROWS, GROUPS, ALERTS = 100, 1000, 1000  # rows of an answer, unless more or fewer are asked for


def status(snapshot: Snapshot) -> dict[str, Any]:
    """The summary so far, the state, and how things are now."""
    figures = snapshot.figures
    return {
        **snapshot.summary,
        "state": snapshot.state,
        "ready": snapshot.ready,
        "reasons": list(snapshot.reasons),
        "time": _time(snapshot.time),
        "now": {
            "lag": snapshot.lag_now,
            "coverage": figures.coverage,
            "judged": snapshot.judged,
            "budget": snapshot.budget_seconds,
            "budget_utilization": figures.budget_utilization,
            "unseen_max": figures.unseen_max_seconds,
            "streams": figures.streams,
            "alerts_firing": len(snapshot.alerts),
            "alerts_suppressed": len(snapshot.suppressed),
            "silences_active": sum(each["status"]["state"] == "active" for each in snapshot.silences),
            "incidents_open": snapshot.incidents_open,
            "guarantee_violations": figures.guarantee_violations,
        },
        "version": figures.build.version,
        "model": {"name": figures.build.model, "digest": figures.build.digest},
    }


def history(moments: Sequence[Moment]) -> dict[str, Any]:
    """Lag and coverage of the last minutes, in columns; times in seconds since the epoch."""
    return {
        "time": [moment.time / SECOND for moment in moments],
        "lag": [moment.lag for moment in moments],
        "coverage": [moment.coverage for moment in moments],
        "judged": [moment.judged for moment in moments],
    }


def alerts(snapshot: Snapshot, limit: int = ALERTS) -> dict[str, Any]:
    """The alerts that fire, and the last that changed, in Prometheus' shape with the message's own keys beside it."""
    return {
        "alerts": [_alert(message) | _telling(snapshot, message) for message in snapshot.alerts[:limit]],
        "total": len(snapshot.alerts),
        "suppressed": len(snapshot.suppressed),
        "recent": [_alert(message) for message in snapshot.recent],
    }


def _alert(message: Row) -> dict[str, Any]:
    streams = message.get("streams") or [{}]
    value = streams[0].get("value")
    return {
        **message,
        "state": message.get("status", "firing"),
        "activeAt": message.get("active_at"),
        "value": "NaN" if value is None else repr(float(value)),
    }


def _telling(snapshot: Snapshot, message: Row) -> dict[str, Any]:
    """Whether people are told of an alert; in Alertmanager's words."""
    why = snapshot.suppressed.get(str(message.get("fingerprint")))
    state = "active" if why is None else "suppressed"
    why = why or Suppressed()
    return {"notification": {"state": state, "silencedBy": why.silenced_by, "mutedBy": why.muted_by}}


def streams(
    snapshot: Snapshot,
    limit: int = ROWS,
    sort: str = "score",
    group: str | None = None,
    q: str | None = None,
    stream: str | None = None,
) -> dict[str, Any]:
    """The first streams by a column, and how many there are to choose from."""
    found = matching(snapshot.streams, group, q, stream)
    return {"streams": _rows(snapshot.streams, first(snapshot.streams, found, sort, limit)), "total": found.size}


def _rows(table: Streams, slots: Slots) -> list[dict[str, Any]]:
    columns = {
        "stream": [table.names[slot] for slot in slots.tolist()],
        "group": [table.groups[slot] for slot in slots.tolist()],
        **{name: _numbers(getattr(table, name)[slots].tolist()) for name in ("score", "value", "weight", "age")},
        "outcome": [_outcome(code) for code in table.outcome[slots].tolist()],
        "ts": [_time(ts) for ts in table.ts[slots].tolist()],
        "labels": [table.labels[slot] if slot < len(table.labels) else {} for slot in slots.tolist()],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def coverage(snapshot: Snapshot, limit: int = GROUPS, group: str | None = None) -> dict[str, Any]:
    """By group, what became of the newest window of each stream; what was looked at least comes first."""
    table = snapshot.streams
    slots = matching(table, group)
    slots = slots[table.outcome[slots] >= 0]
    names = [table.groups[slot] for slot in slots.tolist()]
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    panel = np.fromiter(map(number.__getitem__, names), np.intp, len(names))
    counts = np.bincount(panel * len(OUTCOMES) + table.outcome[slots], minlength=len(number) * len(OUTCOMES))
    rows = _groups(list(number), counts.reshape(-1, len(OUTCOMES)), limit)
    about = {"coverage": snapshot.figures.coverage, "judged": snapshot.judged}
    return {**about, "groups": rows, "total": len(number)}


def _groups(names: list[str], counts: Counts, limit: int) -> list[dict[str, Any]]:
    """Counts [group, outcome]. Gaps and warm-up could not be looked at, so they are no part of the share."""
    could = counts[:, [FULL, LITE, SHED, SENTINEL]].sum(axis=1)
    share = np.divide(counts[:, [FULL, LITE]].sum(axis=1), could, out=np.full(could.size, np.inf), where=could > 0)
    least = np.argsort(share, kind="stable")[:limit]
    return [
        {
            "group": names[i],
            "coverage": float(share[i]) if could[i] else None,
            "windows": dict(zip(OUTCOMES, counts[i].tolist(), strict=True)),
        }
        for i in least.tolist()
    ]


def _outcome(code: int) -> str | None:
    return None if code < 0 else OUTCOMES[code]


def _time(ns: int) -> str | None:
    return rfc3339(ns) if ns > 0 else None


def _numbers(values: list[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
