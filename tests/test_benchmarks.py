"""The benchmarks run and say what they promise; how fast anything is, no test asserts."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import decode, memory, peer, replaying, rules, speed, storm
from benchmarks.child import MeasurementError, measured
from benchmarks.recordings import record
from connectors.batch import SECOND, PartitionTable, StreamTable
from connectors.clock import ReplayClock
from connectors.recordings.table import read

STREAMS = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("bench") / "r.parquet", STREAMS, replaying.LEAD + 64)


def test_a_recording_is_a_long_file_at_one_reading_a_second(recording: Path) -> None:
    table = read(recording)
    assert len(table.streams) == STREAMS and len(set(table.groups)) > 1
    assert {raster.step for raster in table.rasters} == {SECOND}
    steps = replaying.LEAD + 64
    assert 0.95 * STREAMS * steps < len(table) <= STREAMS * steps  # faults swallow some


def test_the_same_seed_records_the_same_readings(tmp_path: Path) -> None:
    one, two, other = (read(record(tmp_path / f"{i}.parquet", 8, 30, seed)) for i, seed in enumerate((1, 1, 2)))
    np.testing.assert_array_equal(one.value, two.value)
    assert not np.array_equal(one.value, other.value)


@pytest.mark.parametrize("mode", list(replaying.MODES))
def test_each_mode_of_the_replay_covers_what_its_name_says(recording: Path, mode: str) -> None:
    found = replaying.measure(str(recording), mode, STREAMS)
    assert found["steps"] >= 60 and found["times_real_time"] > 0 and found["readings_per_second"] > 0
    low, high = {"sentinel": (0, 0), "model": (1, 1), "shed": (0.03, 0.2)}[mode]
    assert low <= found["coverage"] <= high
    assert sum(found["stages"].values()) == pytest.approx(1, abs=0.01)
    assert {"reading", "windows", "sentinel", "rules"} <= set(found["stages"])


def test_a_recording_that_is_all_warm_up_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "short.parquet", 4, 130)
    with pytest.raises(ValueError, match="at least"):
        replaying.measure(str(path), "sentinel", 4)


def test_the_feed_brings_one_reading_of_every_stream_a_step() -> None:
    table = StreamTable()
    feed = memory.Feed(20, 3, table, PartitionTable(), ReplayClock())
    batches = [feed.poll(0) for _ in range(3)]
    assert [len(batch) for batch in batches] == [20, 20, 20] and feed.left == 0
    assert {int(b.ts[0]) - int(a.ts[0]) for a, b in pairwise(batches)} == {SECOND}
    assert len(set(table.groups)) == 2 and len(feed.poll(0)) == 0


def test_memory_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def instead(name: str, streams: int, model: bool, **rest: Any) -> dict[str, Any]:
        asked.append((name, streams, model))
        return {"streams": streams, "at_rest": 1000 + 3 * streams, "running": 2000 + 4 * streams}

    assert measured("memory", streams=8, steps=4, evidence="lean", model=False)["at_rest"] > 0
    monkeypatch.setattr(speed, "measured", instead)
    found = speed.memories((10, 30))
    assert [(f["evidence"], f["model"]) for f in found] == [(e, m) for e in ("full", "lean") for m in (False, True)]
    assert {f["bytes_per_stream"] for f in found} == {4} and {f["at_rest"] for f in found} == {3}
    assert len(asked) == 8


def test_a_measurement_that_breaks_says_why() -> None:
    with pytest.raises(MeasurementError, match="unknown measurement"):
        measured("nothing")


def test_peers_are_named_and_those_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise peer.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(peer.metadata, "version", missing)
    found = peer.measure(16, 0.01)
    assert len(found["found"]) == 2 and all(each["readings_per_second"] > 0 for each in found["found"])
    assert "river is not installed" in found["skipped"][0]


def test_the_table_and_the_json_tell_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def instead(name: str, **asked: Any) -> dict[str, Any]:
        if name == "peer":
            return {"found": [{"name": "someone", "streams": 1, "readings_per_second": 50}], "skipped": ["no one"]}
        figures = {"times_real_time": 7.5, "times_real_time_wall": 7.0, "readings_per_second": 100, "coverage": 0.5}
        return {"mode": asked["mode"], "streams": 9, **figures, "stages": {"windows": 1.0}}

    monkeypatch.setattr(speed, "measured", instead)
    monkeypatch.setattr(speed, "record", lambda path, streams, steps: path)
    speed.bench(9, 120, "peer", "json")
    found = json.loads(capsys.readouterr().out)
    assert [run["mode"] for run in found["replay"]] == list(replaying.MODES)
    assert found["peers"]["found"][0]["heed_over_it"] == dict.fromkeys(replaying.MODES, 2.0)
    assert {"cpu", "cores", "numpy", "onnxruntime"} <= set(found["machine"])
    speed.bench(9, 120, "peer", "table")
    told = capsys.readouterr().out
    assert "7.5 times real time (at least 40: MISSED)" in told and "7.5 times real time (at least 5: met)" in told
    assert "someone: 50 readings a second" in told and "peer skipped: no one" in told


def test_rules_are_measured_for_each_size_and_some_of_them_fire() -> None:
    found = rules.measure(((20, 40), (40, 40)), 3, 0.01)
    assert [(each["rules"], each["streams"], each["plain"]) for each in found["sizes"]] == [
        (20, 40, False), (40, 40, False), (200, 5_000, True),
    ]  # fmt: skip
    assert all(each["ms"] > 0 and 0 < each["unknown"] < 0.2 for each in found["sizes"])
    assert found["cel"] is None or found["cel"]["ns_each"] > 0


def test_every_rule_of_the_benchmark_is_another() -> None:
    assert len(set(rules.filled(rules._FORMS, 200))) > 190


def test_what_rules_cost_is_told_beside_its_target() -> None:
    size = {"rules": 200, "streams": 5_000, "plain": False, "ms": 60.0, "worst_ms": 70.0, "ns_each": 60.0}
    cel = {"version": "9", "ns_each": 2_000, "ms": 2_000, "rows": 50}
    told = "\n".join(speed.lines({"machine": {}, "rules": {"sizes": [size], "cel": None}}))
    assert "60 ms a tick (at most 50: MISSED)" in told
    assert "peer skipped: cel-expr-python" in told
    told = "\n".join(speed.lines({"machine": {}, "rules": {"sizes": [{**size, "ms": 20.0}], "cel": cel}}))
    assert "20 ms a tick (at most 50: met)" in told
    assert "2,000 ms for 200 rules over 5,000 streams (scaled up from 50 rows)" in told


def test_every_format_decodes_all_of_its_messages() -> None:
    found = decode.measure(100, 0.01)["found"]
    assert {each["format"] for each in found} == {"-", "json", "columns", "msgpack", "csv", "arrow"}
    assert all(each["readings_per_second"] > 0 for each in found)
    assert len(list(speed.lines({"machine": {}, "decode": found}))) == len(found) + 1


def test_a_storm_is_measured_in_portions_and_at_once() -> None:
    found = storm.measure(1200)
    assert [(each["name"], each["turns"]) for each in found["found"]] == [("in portions", 3), ("at once", 1)]
    assert all(each["turn_ms"] > 0 for each in found["found"])
    assert len(list(speed.lines({"machine": {}, "storm": found}))) == 3
