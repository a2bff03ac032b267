"""Labels of known faults, from a file: CSV or JSON with stream or group, start and end."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stream.config_text import ConfigError
from stream.faults import Known


def read_labels(path: str) -> list[Known]:
    """Known faults of a file: rows with ``start``, ``end`` and ``stream`` or ``group`` (or both); ``name`` optional.

    CSV with a head line, or a JSON list of objects. Times are RFC 3339, or Unix seconds. Raises ConfigError.
    """
    try:
        text = Path(path).read_text()
        rows = json.loads(text) if text.lstrip().startswith("[") else list(csv.DictReader(text.splitlines()))
        return [known_of(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError.of(f"{path}: not labels: {error}") from error


def known_of(row: Mapping[str, Any]) -> Known:
    """A fault of a row; a stream without a group is looked for by its name alone."""
    stream, group = str(row.get("stream") or ""), str(row.get("group") or "")
    if not (stream or group):
        raise ValueError(f"a label needs a stream or a group: {dict(row)}")
    streams = frozenset([stream]) if stream else frozenset()
    return Known(str(row.get("name") or "labelled"), group or stream, streams, _time(row["start"]), _time(row["end"]))


def _time(value: Any) -> int:
    """Nanoseconds since the epoch."""
    try:
        return round(float(value) * 1e9)
    except ValueError:
        at = datetime.fromisoformat(str(value))
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e9)
