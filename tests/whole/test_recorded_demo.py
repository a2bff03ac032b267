"""A demo at full coverage that is recorded and replayed tells the same alerts and judges the same windows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def heed(*arguments: str | Path) -> str:
    """What it writes on standard output."""
    command = [sys.executable, "-m", "stream.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def changes(text: str) -> list[tuple[Any, ...]]:
    """Each alert change with the values it was told with, in their order."""
    alerts = [json.loads(line) for line in text.splitlines()]
    return [
        (a["fingerprint"], a["status"], a["active_at"], a["starts_at"], a["ends_at"], a["reason"], a["streams"])
        for a in alerts
    ]


@pytest.mark.slow
def test_a_recorded_demo_replays_to_the_same_alerts(tmp_path: Path) -> None:
    recording, first, second = (tmp_path / name for name in ("rec.parquet", "live.json", "replayed.json"))
    more = ["-o", "json", "--summary"]
    live = heed("demo", "--duration", "12s", "--streams", "150", "--no-web", "--record", recording, *more, first)
    alerts = tmp_path / "alerts.jsonl"
    heed("replay", recording, "--alerts", alerts, *more, second)
    before, after = (json.loads(path.read_text()) for path in (first, second))
    assert before["windows"]["shed"] == 0
    assert changes(live)
    assert changes(alerts.read_text()) == changes(live)
    for key in ("windows", "alerts", "incidents", "streams", "groups", "readings"):
        assert after[key] == before[key], key
    assert after["digest"] == before["digest"]
    assert not list(tmp_path.glob("*.part"))
