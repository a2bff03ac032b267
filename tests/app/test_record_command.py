"""`heed record` in a process of its own: how it ends, rotates, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from command import heed, start
from conftest import meanwhile, wait_for

from connectors.batch import PartitionTable, StreamTable
from connectors.clock import ReplayClock
from connectors.recordings.recording import RecordingSource, heading
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
    wait_for((tmp_path / "rec.parquet.part").exists, 60)
    time.sleep(0.5)
    recorder.send_signal(signal.SIGTERM)
    assert recorder.wait(60) == 0 and heading(out) is not None

    recorder = start("record", "-c", config(tmp_path), "-o", tmp_path / "killed.parquet")
    part = tmp_path / "killed.parquet.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 20_000, 120)
    recorder.kill()
    recorder.wait(60)
    assert readings(part) > 200
    summary = json.loads(heed("replay", part, "--summary", "-", "--no-progress", "-o", "json").stdout)
    assert summary["readings"] == readings(part)


def test_it_rotates_by_time_and_each_file_stands_for_itself(tmp_path: Path) -> None:
    heed("record", "-c", config(tmp_path), "-o", tmp_path / "rec.parquet", "--duration", "9s", "--rotate", "2s")
    files = sorted(tmp_path.glob("rec-*.parquet"))
    assert len(files) >= 3
    assert all(readings(file) > 50 for file in files[:-1])
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

    def recorded(part: int) -> int:
        return sum(map(readings, tmp_path.glob(f"{part}-*.parquet")))

    producer = KafkaProducer(bootstrap_servers=kafka)
    for part in range(2):
        now = time.time_ns() // 1_000_000
        for at in range(50):
            producer.send(plant, json.dumps({"stream": "a/b", "ts": now + at, "value": at}).encode())
        producer.send(plant, b"broken")
        producer.flush(10)
        recorder = start("record", "-c", path, "-o", tmp_path / f"{part}.parquet", "--rotate", "1s")
        wait_for(lambda part=part: recorded(part) == 50, 120)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(60) == 0 and recorded(part) == 50
    producer.close()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_recording_of_live_kafka_rotates_ends_in_order_and_survives_a_kill(
    kafka: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    plant = topic(2)
    client = {"bootstrap.servers": kafka, "group.id": f"g.{plant}", "auto.offset.reset": "earliest"}
    path = tmp_path / "heed.yaml"
    path.write_text(json.dumps({"sources": [{"type": "kafka", "topics": [plant], "client": client}]}))

    sizes: set[int] = set()  # of a file that grows, block by block

    def files(pattern: str) -> list[Path]:
        return sorted(tmp_path.glob(pattern))

    with written(kafka, plant):
        recorder = start("record", "-c", path, "-o", tmp_path / "rec.parquet", "--rotate", "1s")
        wait_for(lambda: len(files("rec-*.parquet")) >= 2, 120)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(60) == 0 and not files("*.part")
        kept = sum(map(readings, files("rec-*.parquet")))
        assert kept > 0 and len(files("rec-*.parquet")) >= 3

        recorder = start("record", "-c", path, "-o", tmp_path / "killed.parquet", "--rotate", "1h")
        wait_for(
            lambda: sizes.update(map(size, files("killed-*.part"))) or len([n for n in sizes if n > 8_000]) > 1, 120
        )
        recorder.kill()
        recorder.wait(60)
    (part,) = files("killed-*.part")
    left = readings(part)
    assert 0 < committed(kafka, f"g.{plant}-record", plant) <= kept + left, "the next recording leaves nothing out"
    part.write_bytes(part.read_bytes()[:-300])  # as if the disk had taken a part of the last block
    assert 0 < readings(part) < left


def size(file: Path) -> int:
    return file.stat().st_size


def committed(servers: str, group: str, topic: str) -> int:
    """Records up to where a group has committed, of two partitions."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    found = [consumer.committed(TopicPartition(topic, number), timeout_ms=60_000) or 0 for number in range(2)]
    consumer.close()
    return sum(found)


@contextmanager
def written(servers: str, topic: str) -> Iterator[None]:
    """Readings are written every few milliseconds meanwhile."""
    from kafka import KafkaProducer

    def write() -> None:
        now = time.time_ns() // 1_000_000
        producer.send(topic, json.dumps({"stream": f"a/{now % 4}", "ts": now, "value": 1}).encode())

    with closing(KafkaProducer(bootstrap_servers=servers)) as producer:
        with meanwhile(write, 0.005):
            yield
        producer.flush(10)
