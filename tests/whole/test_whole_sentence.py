"""The whole sentence on a real broker: topics, windows, the ONNX model, shedding under load, alerts on a topic."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stream.faults import GRACE, Fired, Known, account
from whole import kafka_run as k

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
STREAMS, SECONDS, HISTORY, FAULTS, LOAD = 90, 40, 1100, 14, 8
BUDGET_S = 0.25


def accounted(faults: list[dict[str, Any]], messages: list[dict[str, Any]]) -> dict[str, Any]:
    known = [Known(f["name"], f["group"], frozenset(f["streams"]), f["start"], f["end"]) for f in faults]
    first = min(f["start"] for f in faults) - GRACE
    fired = [Fired(m["group"], m["labels"]["stream"], time_ns(m["starts_at"])) for m in k.distinct(messages)]
    return account(known, [f for f in fired if f.starts_at >= first], [])


def time_ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000


@pytest.mark.slow
def test_readings_of_three_topics_become_alerts_and_low_weight_streams_are_shed_under_load(
    kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = uuid.uuid4().hex[:8]
    loaded, calm = f"loaded-{suffix}", f"calm-{suffix}"
    k.make_topics(kafka, suffix, loaded)
    k.make_topics(kafka, "x" + suffix, calm)
    start = k.now_ns() + 6_000_000_000
    given = {"servers": kafka, "suffix": suffix, "streams": STREAMS, "seed": 3, "history": HISTORY, "start": start}
    plant, faults = k.start_plant({**given, "seconds": SECONDS, "faults": FAULTS})
    each = LOAD * BUDGET_S * 0.95 / STREAMS
    heed = k.start_heed(k.config(tmp_path, kafka, suffix, loaded), tmp_path / "loaded.log", each)
    assert plant.wait(180) == 0
    k.wait_until_read(heed, tmp_path / loaded, k.records_on(kafka, suffix))
    assert k.stop(heed) == 0
    under_load, told = k.last_words(tmp_path / "loaded.log"), k.alerts_on(kafka, loaded)

    # The same readings once more, unloaded: a daemon that comes late and catches up.
    heed = k.start_heed(k.config(tmp_path, kafka, suffix, calm, budget={"latency": "10m"}), tmp_path / "calm.log")
    k.wait_until_read(heed, tmp_path / calm, k.records_on(kafka, suffix))
    assert k.stop(heed) == 0
    unloaded, told_unloaded = k.last_words(tmp_path / "calm.log"), k.alerts_on(kafka, calm)

    for said in (under_load, unloaded):
        windows = said["windows"]
        assert windows["due"] == sum(n for outcome, n in windows.items() if outcome != "due")
    assert unloaded["windows"]["shed"] == 0 and unloaded["windows"]["full"] > 0
    assert under_load["windows"]["shed"] > under_load["windows"]["full"] > 0
    found, found_unloaded = accounted(faults, told), accounted(faults, told_unloaded)
    print(f"found {found['found']} under {LOAD}x load, {found_unloaded['found']} unloaded, of {found['injected']}")
    assert found_unloaded["found"] >= 0.8 * len(faults)
    assert found["found"] >= 0.5 * found_unloaded["found"], "how many it can look for depends on the machine"
