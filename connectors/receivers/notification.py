"""A notification (Alertmanager's webhook object, version 4) as people read it: a title, lines, simple HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

MOST_TOLD = 50  # alerts told one by one
MOST_TITLE = 200  # characters
_SHOWN_APART = {"summary", "description", "runbook_url"}


def alerts_of(message: Mapping[str, object]) -> list[dict[str, Any]]:
    """Its alerts in Alertmanager's shape; a message that is one alert itself is turned into that shape."""
    found = message.get("alerts")
    if isinstance(found, (list, tuple)):
        return [dict(alert) for alert in found if isinstance(alert, Mapping)]
    return [
        {
            "status": message.get("status", "firing"),
            "labels": texts(message.get("labels")),
            "annotations": texts(message.get("annotations")),
            "startsAt": message.get("starts_at"),
            "endsAt": message.get("ends_at"),
            "fingerprint": message.get("fingerprint", ""),
        }
    ]


def title(message: Mapping[str, object]) -> str:
    """One line: ``[FIRING:2] Anomaly press1``."""
    alerts = alerts_of(message)
    firing = sum(alert.get("status") == "firing" for alert in alerts)
    more = _whole(message.get("truncatedAlerts"))
    common = texts(message.get("groupLabels")) or texts(message.get("commonLabels")) or _first(alerts)
    count = f":{firing}{'+' if more else ''}" if firing else ""
    words = [f"[{_status(message, firing)}{count}]", *dict.fromkeys(common.values())]
    return plain(" ".join(words))[:MOST_TITLE]


def _status(message: Mapping[str, object], firing: int) -> str:
    return str(message.get("status") or ("firing" if firing else "resolved")).upper()


def _first(alerts: list[dict[str, Any]]) -> dict[str, str]:
    labels = texts(alerts[0].get("labels")) if alerts else {}
    return {name: labels[name] for name in ("alertname", "group", "stream") if name in labels}


def text(message: Mapping[str, object]) -> str:
    """Several lines an alert: what it is about, since when, its labels and where to look."""
    alerts = alerts_of(message)
    blocks = ["\n".join(_lines(alert)) for alert in alerts[:MOST_TOLD]]
    more = len(alerts) - len(blocks) + _whole(message.get("truncatedAlerts"))
    blocks += [f"... and {more} more alerts"] if more else []
    reason, url = message.get("reason"), message.get("externalURL")
    blocks += [f"told because: {plain(reason)}"] if reason else []
    blocks += [plain(url)] if url else []
    return "\n\n".join(blocks) + "\n"


def _lines(alert: Mapping[str, Any]) -> list[str]:
    labels, notes = texts(alert.get("labels")), texts(alert.get("annotations"))
    head = notes.get("summary") or labels.get("alertname") or "an alert"
    lines = [plain(f"{str(alert.get('status', '?')).upper()}: {head}")]
    lines += [plain(notes["description"])] if notes.get("description") else []
    lines += [f"  since {plain(alert['startsAt'])}"] if alert.get("startsAt") else []
    if alert.get("status") == "resolved" and alert.get("endsAt"):
        lines.append(f"  until {plain(alert['endsAt'])}")
    others = {**labels, **{name: note for name, note in notes.items() if name not in _SHOWN_APART}}
    lines += [f"  {plain(name)} = {plain(value)}" for name, value in others.items()]
    links = (("runbook", notes.get("runbook_url")), ("source", alert.get("generatorURL")))
    return lines + [f"  {name}: {plain(link)}" for name, link in links if link]


def html(message: Mapping[str, object]) -> str:
    """The same text for a mail reader that shows HTML."""
    head, body = escape(title(message)), escape(text(message))
    return f"<!doctype html><html><body><h3>{head}</h3><pre>{body}</pre></body></html>\n"


def texts(value: object) -> dict[str, str]:
    """A mapping of texts; empty for what is none. Half of a surrogate pair, which JSON can hold, becomes ``?``."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {_utf8(name): _utf8(item) for name, item in pairs if item is not None}


def _utf8(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")


def plain(value: object) -> str:
    """Text in one line without control characters, which a stream's name may bring."""
    return "".join(char if char.isprintable() else " " for char in _utf8(value))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
