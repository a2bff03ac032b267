"""`heed record` in a process of its own: how it ends, rotates, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import heed, start

from connectors.batch import PartitionTable, StreamTable
from connectors.clock import ReplayClock
from connectors.recording import RecordingSource, heading
from stream.app.record_command import Rotation, apart, dated, rotation
from stream.settings import KafkaSource, load


def config(folder: Path, **source: object) -> Path:
    path = folder / "heed.yaml"
    made = {"type": "synthetic", "streams": 20, "seed": 1, "step": "100ms", **source}
    path.write_text(json.dumps({"sources": [made], "logging": {"format": "json"}}))
    return path


def readings(path: Path) -> int:
    source, n = RecordingSource(path, StreamTable(), PartitionTable(), ReplayClock()), 0
    while not source.done:
        n += len(source.poll(0))
    return n


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_records_for_a_while_and_the_recording_replays(tmp_path: Path) -> None:
    out = tmp_path / "rec.parquet"
    said = heed("record", "-c", config(tmp_path), "-o", out, "--duration", "2s").stderr
    assert [path.name for path in tmp_path.glob("rec*")] == ["rec.parquet"]
    closed = next(json.loads(line) for line in said.splitlines() if '"recording.closed"' in line)
    assert readings(out) == closed["readings"] > 200
    summary = json.loads(heed("replay", out, "--summary", "-", "--no-progress", "-o", "json").stdout)
    assert summary["readings"] == closed["readings"]


def test_an_ordered_stop_finishes_the_file_and_a_kill_leaves_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rec.parquet"
    recorder = start("record", "-c", config(tmp_path), "-o", out)
    until(lambda: (tmp_path / "rec.parquet.part").exists())
    time.sleep(0.5)
    recorder.send_signal(signal.SIGTERM)
    assert recorder.wait(20) == 0 and heading(out) is not None

    recorder = start("record", "-c", config(tmp_path), "-o", tmp_path / "killed.parquet")
    part = tmp_path / "killed.parquet.part"
    until(lambda: part.exists() and part.stat().st_size > 20_000)
    recorder.kill()
    recorder.wait(20)
    assert readings(part) > 200
    summary = json.loads(heed("replay", part, "--summary", "-", "--no-progress", "-o", "json").stdout)
    assert summary["readings"] == readings(part)


def test_it_rotates_by_time_and_each_file_stands_for_itself(tmp_path: Path) -> None:
    heed("record", "-c", config(tmp_path), "-o", tmp_path / "rec.parquet", "--duration", "3s", "--rotate", "1s")
    files = sorted(tmp_path.glob("rec-*.parquet"))
    assert 3 <= len(files) <= 4
    assert all(readings(file) > 50 for file in files[:3])
    assert not list(tmp_path.glob("*.part"))


def test_a_size_or_a_span_rotates() -> None:
    assert rotation("100MB") == Rotation(size=100_000_000)
    assert rotation("1MiB") == Rotation(size=1 << 20)
    assert rotation("1h") == Rotation(span=3_600_000_000_000)
    assert Rotation(size=10).due(10, 0) and not Rotation(size=10).due(9, 99)
    assert Rotation(span=10).due(0, 10) and not Rotation(span=10).due(99, 9)
    with pytest.raises(ValueError, match="a size like 100MB or a duration like 1h"):
        rotation("often")
    assert dated(Path("a/rec.parquet"), 1_767_225_600_123_000_000).name == "rec-20260101T000000.123Z.parquet"


def test_a_rotation_that_is_none_is_a_mistake_in_usage(tmp_path: Path) -> None:
    assert "a size like 100MB" in heed("record", "-o", tmp_path / "x", "--rotate", "often", code=2).stderr.replace(
        "\n", " "
    )


def test_it_reads_in_a_group_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "heed.yaml"
    client = {"bootstrap.servers": "a:1", "group.id": "heed", "group.instance.id": "one"}
    source = {"type": "kafka", "topics": ["t"], "client": client, "dead_letter_topic": "shared.dlq"}
    path.write_text(json.dumps({"sources": [source], "sinks": [{"type": "console"}]}))
    (found,) = apart(load(str(path), ())).sources
    assert isinstance(found, KafkaSource)
    assert found.client == {"bootstrap.servers": "a:1", "group.id": "heed-record"}
    assert found.dead_letter_topic is None


@pytest.mark.kafka
def test_a_recording_from_kafka_goes_on_where_the_last_one_ended(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    from kafka import KafkaProducer

    plant = topic()
    client = {"bootstrap.servers": kafka, "group.id": f"g.{plant}", "auto.offset.reset": "earliest"}
    path = config(tmp_path, type="kafka", topics=[plant], client=client)
    tree = json.loads(path.read_text())
    tree["sources"][0] = {"type": "kafka", "topics": [plant], "client": client}
    path.write_text(json.dumps(tree))
    producer = KafkaProducer(bootstrap_servers=kafka)
    for part in range(2):
        now = time.time_ns() // 1_000_000
        for at in range(50):
            producer.send(plant, json.dumps({"stream": "a/b", "ts": now + at, "value": at}).encode())
        producer.send(plant, b"broken")
        producer.flush(10)
        out = tmp_path / f"{part}.parquet"
        heed("record", "-c", path, "-o", out, "--duration", "4s")
        assert readings(out) == 50
    producer.close()
