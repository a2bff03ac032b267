"""Labels of known faults, from a file: CSV or JSON with stream or group, start and end."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.batch import StreamTable
from stream.config_text import ConfigError
from stream.faults import Known
from stream.verdict import Verdicts


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
    """A fault of a row; where a stream stands without its group, that is "" (see Located)."""
    stream, group = str(row.get("stream") or ""), str(row.get("group") or "")
    if not (stream or group):
        raise ValueError(f"a label needs a stream or a group: {dict(row)}")
    streams = frozenset([stream]) if stream else frozenset()
    return Known(str(row.get("name") or "labelled"), group, streams, _time(row["start"]), _time(row["end"]))


class Located:
    """Labels that name a stream alone: they get its group once the run has met the stream."""

    def __init__(self, labels: Sequence[Known], table: StreamTable) -> None:
        self.labels, self._table = list(labels), table
        self._nowhere = [number for number, label in enumerate(labels) if not label.group]

    def observe(self, verdicts: Verdicts) -> None:
        """After a tick."""
        for number in list(self._nowhere):
            (stream,) = self.labels[number].streams
            slot = self._table.slot_of.get(stream)
            if slot is not None:
                self.labels[number] = replace(self.labels[number], group=self._table.groups[slot])
                self._nowhere.remove(number)


def _time(value: Any) -> int:
    """Nanoseconds since the epoch."""
    try:
        return round(float(value) * 1e9)
    except ValueError:
        at = datetime.fromisoformat(str(value))
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e9)
