"""Alerts for people: one readable line each on a text stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from connectors.sink import SinkError

STREAMS_SHOWN = 3


class ConsoleSink:
    """Writes time, status, severity, alert name, streams, value against expectation, and score."""

    def __init__(self, stream: TextIO, name: str = "console") -> None:
        self.name, self._stream = name, stream

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        if not messages:
            return
        try:
            self._stream.write("".join(f"{line(message)}\n" for message in messages))
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name}: can't be written: {error}") from error

    def close(self) -> None:
        pass


def line(message: Mapping[str, object]) -> str:
    """One alert in one line."""
    labels, status = _mapping(message.get("labels")), _plain(message.get("status", "?"))
    time = message.get("ends_at" if status == "resolved" else "starts_at") or message.get("starts_at")
    words = [
        _time(time),
        f"{status.upper():8}",
        f"{_plain(labels.get('severity', '-')):8}",
        _plain(labels.get("alertname") or message.get("rule") or "?"),
        _who(message, labels),
    ]
    return "  ".join(word for word in words if word)


def _who(message: Mapping[str, object], labels: Mapping[str, object]) -> str:
    found = message.get("streams")
    streams = [_mapping(stream) for stream in found] if isinstance(found, (list, tuple)) else []
    if not streams:
        return _plain(labels.get("stream") or labels.get("group") or message.get("group") or "")
    more = f" and {len(streams) - STREAMS_SHOWN} more" if len(streams) > STREAMS_SHOWN else ""
    return ", ".join(_stream(stream) for stream in streams[:STREAMS_SHOWN]) + more


def _stream(stream: Mapping[str, object]) -> str:
    value, expected, score = (_number(stream.get(key)) for key in ("value", "expected", "score"))
    low, high = _number(stream.get("low")), _number(stream.get("high"))
    words = [_plain(stream.get("stream", "?"))]
    words += [f"= {value}"] if value else []
    words += [f"(expected {expected}{f', {low} to {high}' if low and high else ''})"] if expected else []
    words += [f"score {score}"] if score else []
    return " ".join(words)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return ""
    return f"{value:.4g}"


def _plain(value: object) -> str:
    """Text without control characters, which a stream's name may bring and a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _time(value: object) -> str:
    """Nanoseconds as text to the millisecond; text as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        time = datetime.fromtimestamp(value // 1_000_000 / 1000, UTC)
        return time.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
    return _plain(value) if value else "-"
