"""The message that tells of an alert: plain values, as sinks and receivers send them (docs/alerts.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from stream.rules.change import Change, Values
from stream.rules.template import render

SECOND = 1_000_000_000  # ns


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says beside the alert itself: by which model, and how well the group was looked at."""

    model: str | None = None
    digest: str | None = None
    shed: int | None = None  # windows of the group that were shed
    since: int | None = None  # coverage and shed are counted from here, ns
    coverage: float | None = None  # of the group; default: what the alert's own columns say


def message(change: Change, told: Told | None = None) -> dict[str, Any]:
    """The alert message, ready for JSON: times as RFC 3339, what is absent as None."""
    told = told or Told()
    values = {name: _plain(value) for name, value in change.values.items()}
    return {
        "id": f"{change.fingerprint}-{change.starts_at}",
        "fingerprint": change.fingerprint,
        "status": change.status,
        "active_at": rfc3339(change.active_at),
        "starts_at": rfc3339(change.starts_at),
        "ends_at": None if change.ends_at is None else rfc3339(change.ends_at),
        "labels": dict(change.labels),
        "annotations": _annotations(change),
        "rule": change.rule.alert,
        "group": change.group,
        "streams": _streams(change, values),
        "evidence": _evidence(values, told),
        "model": {"name": told.model, "digest": told.digest},
        "reason": change.reason,
    }


def _annotations(change: Change) -> dict[str, str]:
    return {name: render(text, change.labels, change.values) for name, text in change.rule.annotations.items()}


def _streams(change: Change, values: Values) -> list[dict[str, Any]]:
    """The stream itself; of the alert of a group, the members that drove it."""
    if change.stream:
        return [_stream(change.stream, 1.0, values)]
    return [
        _stream(name, round(share, 4), {key: _plain(value) for key, value in own.items()})
        for name, share, own in change.members
    ]


def _stream(name: str, share: float, values: Values) -> dict[str, Any]:
    numbers = {key: values.get(key) for key in ("value", "expected", "low", "high", "score")}
    return {"stream": name, "share": share, "direction": _direction(values), **numbers}


def _direction(values: Values) -> str | None:
    """Which way the value is off; None where it isn't or nobody can say."""
    value, expected = values.get("value"), values.get("expected")
    if not isinstance(value, float | int) or not isinstance(expected, float | int) or value == expected:
        return None
    return "above" if value > expected else "below"


def _evidence(values: Values, told: Told) -> dict[str, Any]:
    return {
        "coverage": values.get("coverage") if told.coverage is None else _plain(told.coverage),
        "fidelity": values.get("fidelity"),
        "shed": told.shed,
        "imputed": values.get("imputed"),
        "since": None if told.since is None else rfc3339(told.since),
    }


def _plain(value: float | str | None) -> float | str | None:
    """JSON knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(maxsize=256)  # in a storm all say the same times
def rfc3339(ns: int) -> str:
    """A time as text, with as many digits of a second as it needs: ``2026-03-01T12:00:00.25Z``."""
    seconds, fraction = divmod(ns, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text}{digits}Z"
