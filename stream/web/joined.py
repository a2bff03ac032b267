"""What several workers say of their rules and alerts, as one answer in the same shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STATES = ("unknown", "inactive", "pending", "firing")  # of a rule the last of these that any worker has
SUMS = ("pending", "firing", "evaluations", "unknown")
Row = Mapping[str, Any]


def alerts(said: Sequence[Row], limit: int) -> dict[str, Any]:
    """The alerts of all, one worker's after the other's; a stream is at one worker only."""
    found = {key: [alert for each in said for alert in each[key]] for key in ("alerts", "recent")}
    return {
        "alerts": found["alerts"][:limit],
        "recent": found["recent"],
        **{key: sum(each[key] for each in said) for key in ("total", "suppressed")},
    }


def rules(said: Sequence[Row]) -> dict[str, Any]:
    """The groups of all; a rule that several have stands once, with what it came to at all of them."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for group in (group for each in said for group in each["groups"]):
        groups.setdefault((group["file"], group["name"]), []).append(group)
    return {"groups": [_group(same) for same in groups.values()]}


def _group(same: Sequence[Row]) -> dict[str, Any]:
    known: dict[str, list[Row]] = {}
    for rule in (rule for group in same for rule in group["rules"]):
        known.setdefault(rule["key"], []).append(rule)
    return {
        **same[0],
        "rules": [_rule(each) for each in known.values()],
        "lastEvaluation": _last(same),
    }


def _rule(same: Sequence[Row]) -> dict[str, Any]:
    return {
        **same[0],
        **{name: sum(rule[name] for rule in same) for name in SUMS},
        "state": max((rule["state"] for rule in same), key=STATES.index),
        "health": "ok" if any(rule["health"] == "ok" for rule in same) else same[0]["health"],
        "alerts": [alert for rule in same for alert in rule["alerts"]],
        "lastEvaluation": _last(same),
    }


def _last(rows: Iterable[Row]) -> str:
    return max((str(row["lastEvaluation"]) for row in rows), key=moment)


def moment(text: str | None) -> str:
    """What orders times in RFC 3339 in UTC, with as many digits as each needs; None is before all."""
    return (text or "").rstrip("Z")
