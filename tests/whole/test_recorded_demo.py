"""A demo that is recorded and replayed tells the same alerts; on its own clock it is the same bit for bit."""

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


def recorded(folder: Path, duration: str, *arguments: str) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Alerts and summary of a demo, recorded to rec.parquet."""
    told, summary = folder / "rec.parquet", folder / "live.json"
    shape = ["--duration", duration, "--streams", "150", "--no-web", "-o", "json"]
    live = heed("demo", *shape, *arguments, "--record", told, "--summary", summary)
    assert not list(folder.glob("*.part"))
    return changes(live), json.loads(summary.read_text())


def replayed(folder: Path, price: str) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Alerts and summary of the recording."""
    alerts, summary = folder / "alerts.jsonl", folder / "replayed.json"
    heed("replay", folder / "rec.parquet", "--price", price, "--alerts", alerts, "-o", "json", "--summary", summary)
    return changes(alerts.read_text()), json.loads(summary.read_text())


SAME = ("windows", "alerts", "incidents", "streams", "groups", "readings")


@pytest.mark.slow
def test_a_recorded_demo_replays_to_the_same_alerts(tmp_path: Path) -> None:
    live, before = recorded(tmp_path, "12s", "--set", "budget.latency=60s")
    assert live
    assert before["windows"]["shed"] == 0
    for price in ("none", "auto"):
        alerts, after = replayed(tmp_path, price)
        assert alerts == live
        assert [after[key] for key in SAME] == [before[key] for key in SAME]
    assert after["digest"] == before["digest"]


@pytest.mark.slow
def test_an_overloaded_demo_replays_with_its_shedding_bit_for_bit(tmp_path: Path) -> None:
    live, before = recorded(tmp_path, "20s", "--load", "5")
    assert live
    assert before["windows"]["shed"] > before["windows"]["full"] > 0
    alerts, after = replayed(tmp_path, "auto")
    assert alerts == live
    for key in (*SAME, "lag", "digest", "longest_unseen", "guarantee_violations"):
        assert after[key] == before[key], key
