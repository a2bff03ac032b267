"""How several workers stand, as one answer in the shape of a single one's, with what each says beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream.ledger import OUTCOMES
from stream.web.joined import moment
from stream.web.joined_streams import LOOKED_AT, added, looked_at

STATES = ("starting", "draining", "catching_up", "warming", "ready")  # the least ready one first
SUMS = ("readings", "streams", "groups", "late", "guarantee_violations")
NOW_SUMS = ("alerts_firing", "alerts_suppressed", "incidents_open", "guarantee_violations")
NOW_WORST = ("lag", "budget", "budget_utilization", "unseen_max", "silences_active")  # all know the same silences
LAGS = ("p50", "p99", "max")
Row = Mapping[str, Any]


def status(workers: Sequence[Row]) -> dict[str, Any]:
    """``workers``: of each its number (``worker``), whether it is ``up``, and its ``status``; None = it says none."""
    known = [row["status"] for row in workers if row["status"]]
    states = [own["state"] for own in known] + ["starting"] * (len(workers) - len(known))
    reasons = [reason for row in workers for reason in _reasons(row)]
    return {
        **_summary(known),
        "state": min(states, key=STATES.index),
        "ready": len(known) == len(workers) and all(own["ready"] for own in known),
        "reasons": reasons,
        "time": max((own["time"] for own in known if own["time"]), key=moment, default=None),
        "now": _now([own["now"] for own in known]),
        **{name: known[0][name] if known else None for name in ("version", "model")},
        "workers": list(workers),
    }


def _reasons(row: Row) -> Iterator[str]:
    own = row["status"]
    for why in own["reasons"] if own else ["does not answer" if row["up"] else "is down"]:
        yield f"worker {row['worker']}: {why}"


def _summary(known: Sequence[Row]) -> dict[str, Any]:
    windows = {name: sum(own.get("windows", {}).get(name, 0) for own in known) for name in ("due", *OUTCOMES)}
    backlog = [own.get("catching_up", {}) for own in known]
    looked, due = sum(windows[name] for name in LOOKED_AT), windows["due"]
    return {
        **_sums(known, SUMS),
        "windows": windows,
        "coverage": round(looked / due, 6) if due else 1.0,
        "lag": _worst([own.get("lag", {}) for own in known], LAGS),
        "catching_up": _sums(backlog, ("windows",)) | _worst(backlog, LAGS),
        **_worst(known, ("budget", "longest_unseen")),
    }


def _now(known: Sequence[Row]) -> dict[str, Any]:
    return {
        **_sums(known, NOW_SUMS),
        **_worst(known, NOW_WORST),
        **looked_at(known),
        "streams": added([own["streams"] for own in known]),
    }


def _sums(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    return {name: sum(row.get(name, 0) for row in rows) for name in names}


def _worst(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    return {name: max((row.get(name) or 0.0 for row in rows), default=0.0) for name in names}
