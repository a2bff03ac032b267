"""kill -9 at random moments of a Kafka run: no alert lost, none doubled beyond its key, the ledger conserves."""

from __future__ import annotations

import random
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stream.ledger import GAP, OUTCOMES
from whole import kafka_run as k

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
STREAMS, SECONDS, HISTORY, KILLS = 60, 50, 600, 10


def seen(messages: list[dict[str, Any]], until_ns: int) -> dict[tuple[str, str, str], int]:
    """How often each alert change was told, of those that began before ``until_ns``."""
    found: dict[tuple[str, str, str], int] = {}
    for m in messages:
        if datetime.fromisoformat(m["starts_at"]).timestamp() * 1e9 < until_ns:
            key = (m["fingerprint"], m["starts_at"], m["status"])
            found[key] = found.get(key, 0) + 1
    return found


def looked_at(counts: dict[str, list[int]]) -> dict[str, list[int]]:
    """Without gaps: how many of them there are depends on when a run was stopped."""
    return {name: [n for i, n in enumerate(row) if i != GAP] for name, row in counts.items()}


def test_ten_kills_lose_no_alert_and_no_window(kafka: str, tmp_path: Path) -> None:
    suffix = uuid.uuid4().hex[:8]
    killed, calm = f"killed-{suffix}", f"undisturbed-{suffix}"
    k.make_topics(kafka, suffix, killed)
    k.make_topics(kafka, "x" + suffix, calm)
    start = k.now_ns() + 4_000_000_000
    given = {"servers": kafka, "suffix": suffix, "streams": STREAMS, "seed": 5, "history": HISTORY, "start": start}
    plant, faults = k.start_plant({**given, "seconds": SECONDS, "faults": 14})
    more = {"budget": {"latency": "60s"}, "windows": {"lateness": "2s"}}
    file = k.config(tmp_path, kafka, suffix, killed, **more)
    rng = random.Random(7)
    for _ in range(KILLS):
        heed = k.start_heed(file, tmp_path / "killed.log")
        time.sleep(2 + 2.5 * rng.random())
        heed.kill()
        assert heed.wait() == -9
    assert plant.wait(180) == 0
    end = start + SECONDS * 1_000_000_000 - 1_000_000_000
    for file_of, name in ((file, killed), (k.config(tmp_path, kafka, suffix, calm, **more), calm)):
        heed = k.start_heed(file_of, tmp_path / f"{name}.log")
        k.wait_until_read(heed, tmp_path / name)
        assert k.stop(heed) == 0

    told, wanted = seen(k.alerts_on(kafka, killed), end), seen(k.alerts_on(kafka, calm), end)
    fired = {key for key in wanted if key[2] == "firing"}
    assert len(fired) >= len(faults) // 2, "the undisturbed run tells of faults at all"
    assert {key for key in told if key[2] == "firing"} == fired
    assert max(wanted.values()) == 1
    assert looked_at(k.ledger(tmp_path / killed)) == looked_at(k.ledger(tmp_path / calm))
    for name in (killed, calm):
        windows = k.last_words(tmp_path / f"{name}.log")["windows"]
        assert windows["due"] == sum(windows[outcome] for outcome in OUTCOMES)
        assert windows["shed"] == 0
