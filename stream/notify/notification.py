"""A notification: Alertmanager's webhook object, version 4, with heed's reason beside it (docs/notifications.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from stream.notify.alert import Alert
from stream.notify.gathering import Reason


def notification(
    alerts: Sequence[Alert], reason: Reason, receiver: str, key: str, labels: Mapping[str, str], now: int,
    url: str = "", most: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """``alerts`` in order of importance: of more than ``most`` (0 = all) the rest is counted and left out.

    ``key`` and ``labels`` are those of what was gathered; ``id`` is the same each time this notification is delivered.
    """
    shown = list(alerts[:most] if most else alerts)
    about = f"{now}\n{receiver}\n{key}\n{reason}\n{alerts[0].fingerprint}"
    shown.sort(key=lambda alert: not alert.firing)
    return {
        "version": "4",
        "id": hashlib.sha256(about.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "groupKey": key,
        "truncatedAlerts": len(alerts) - len(shown),
        "status": "firing" if any(alert.firing for alert in alerts) else "resolved",
        "receiver": receiver,
        "groupLabels": dict(labels),
        "commonLabels": _common([alert.labels for alert in shown]),
        "commonAnnotations": _common([alert.annotations for alert in shown]),
        "externalURL": url,
        "alerts": [alert.told(url) for alert in shown],
        "reason": reason,
    }


def _common(maps: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of them say."""
    if not maps:
        return {}
    found = dict(maps[0])
    for each in maps[1:]:
        if not found:
            break
        found = {name: text for name, text in found.items() if each.get(name) == text}
    return found
