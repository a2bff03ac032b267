"""What `/api/v1/rules` says: the rules and how they are doing, in Prometheus' shape with heed's own keys beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream.rules.columns import FIDELITIES
from stream.rules.message import rfc3339
from stream.rules.rule import Rule
from stream.rules.standing import Standing
from stream.web.snapshot import Snapshot

SECOND = 1_000_000_000  # ns
NEVER = "0001-01-01T00:00:00Z"  # Prometheus' word for a time that has not been


def rules(snapshot: Snapshot, exclude_alerts: bool = False, type: str = "alert") -> dict[str, Any]:
    """The groups of rules in their order; recording rules there are none."""
    standings = snapshot.rules if type == "alert" else ()
    alerts: Mapping[str, list[Any]] = {} if exclude_alerts else _by_alert(snapshot)
    groups: dict[tuple[str, str], list[Standing]] = {}
    for standing in standings:
        groups.setdefault((standing.rule.file, standing.rule.group), []).append(standing)
    return {"groups": [_group(*place, of, alerts, exclude_alerts) for place, of in groups.items()]}


def _by_alert(snapshot: Snapshot) -> dict[str, list[Any]]:
    """Alerts that fire, by the name of their rule."""
    found: dict[str, list[Any]] = {}
    for message in snapshot.alerts:
        found.setdefault(str(message["rule"]), []).append(message)
    return found


def _group(
    file: str, name: str, standings: Sequence[Standing], alerts: Mapping[str, list[Any]], exclude: bool
) -> dict[str, Any]:
    interval = standings[0].rule.interval
    return {
        "name": name,
        "file": file,
        "interval": interval.ns / SECOND,
        "limit": 0,
        "rules": [_rule(standing, alerts, exclude) for standing in standings],
        "evaluationTime": 0,
        "lastEvaluation": _time(max(standing.evaluated for standing in standings)),
    }


def _rule(standing: Standing, alerts: Mapping[str, list[Any]], exclude: bool) -> dict[str, Any]:
    rule = standing.rule
    found = {
        "state": standing.state,
        "name": rule.alert,
        "query": rule.expr.text.strip(),
        "duration": rule.hold.ns / SECOND,
        "keepFiringFor": rule.keep_firing_for.ns / SECOND,
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
        "alerts": [] if exclude else _alerts(standing, alerts.get(rule.alert, [])),
        "health": "ok" if standing.evaluated else "unknown",
        "lastError": "",
        "evaluationTime": 0,
        "lastEvaluation": _time(standing.evaluated),
        "type": "alerting",
    }
    return found | _own(standing)


def _own(standing: Standing) -> dict[str, Any]:
    """What only heed knows. A span may be given in steps, which has no length in seconds."""
    rule = standing.rule
    return {
        "key": rule.key,
        "for": str(rule.hold),
        "line": rule.line,
        "fidelity": FIDELITIES[rule.fidelity],
        "pending": standing.pending,
        "firing": standing.firing,
        "evaluations": standing.evaluations,
        "unknown": standing.unknown,
    }


def _alerts(standing: Standing, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that fire, then the first ones that are pending; alerts of another rule of the same name are left out."""
    rule = standing.rule
    fixed = {name: text for name, text in rule.labels.items() if "{{" not in text}
    own = [m for m in messages if fixed.items() <= dict(m["labels"]).items()]
    return [_firing(message) for message in own] + [_pending(rule, *each) for each in standing.waiting]


def _firing(message: Mapping[str, Any]) -> dict[str, Any]:
    streams = message.get("streams") or [{}]
    value = streams[0].get("value")
    return {
        "labels": dict(message["labels"]),
        "annotations": dict(message["annotations"]),
        "state": "firing",
        "activeAt": message["active_at"],
        "value": "NaN" if value is None else repr(float(value)),
    }


def _pending(rule: Rule, stream: str, group: str, active_at: int) -> dict[str, Any]:
    """Labels as far as they are known before anything is told."""
    labels = {**rule.labels, "alertname": rule.alert, "stream": stream, "group": group}
    return {"labels": labels, "annotations": {}, "state": "pending", "activeAt": rfc3339(active_at), "value": "NaN"}


def _time(ns: int) -> str:
    return rfc3339(ns) if ns else NEVER
