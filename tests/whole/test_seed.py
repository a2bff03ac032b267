"""A daemon without state learns from its topic's history first, and judges from where reading begins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import wait_for
from kafka import KafkaProducer

from whole.kafka_run import ENV, last_words, positions, stop

STREAMS, HISTORY, MORE = 6, 180, 20
Topic = Callable[..., str]


def write(servers: str, topic: str, first: int, last: int, start: int) -> None:
    """Steps ``first`` to ``last`` of 1 s, each stamped by the producer with its own time."""
    producer = KafkaProducer(bootstrap_servers=servers)
    for step in range(first, last):
        for stream in range(STREAMS):
            message = {"stream": f"m/s{stream}", "ts": start + step, "value": 20 + (step * 7 + stream) % 5}
            producer.send(topic, json.dumps(message).encode(), timestamp_ms=(start + step) * 1000)
    producer.flush()
    producer.close()


def run(folder: Path, servers: str, topic: str, *more: str) -> tuple[subprocess.Popen[bytes], Path]:
    config = {
        "sources": [
            {
                "type": "kafka",
                "topics": [topic],
                "time_unit": "s",
                "client": {"bootstrap.servers": servers, "group.id": f"{topic}-{len(more)}"},
            }
        ],
        "model": {"name": "none"},
        "state": {"path": str(folder / f"state{len(more)}")},
        "sinks": [{"type": "jsonl", "path": str(folder / "alerts.jsonl")}],
        "windows": {"idle": "2s"},
    }
    path, log = folder / f"heed{len(more)}.yaml", folder / f"log{len(more)}"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(path), "--no-web", *more]
    with log.open("ab") as out:
        return subprocess.Popen(command, stderr=out, stdout=out, env=ENV), log


def wait_until_at(folder: Path, offset: int) -> None:
    wait_for(lambda: [positions(folder / f"state{n}") for n in (0, 2)] == [offset, offset], 180)


@pytest.mark.slow
def test_with_a_seed_nothing_new_is_in_warm_up_and_nothing_old_is_judged(
    tmp_path: Path, kafka: str, topic: Topic
) -> None:
    name, start = topic(), int(time.time()) - HISTORY - 3
    write(kafka, name, 0, HISTORY, start)
    both = [run(tmp_path, kafka, name), run(tmp_path, kafka, name, "--seed", "1h")]
    wait_until_at(tmp_path, STREAMS * HISTORY)
    now = int(time.time()) - start + 1
    write(kafka, name, now, now + MORE, start)
    wait_until_at(tmp_path, STREAMS * (HISTORY + MORE))
    time.sleep(MORE + 6)  # until the last of these steps is over
    assert [stop(process) for process, _ in both] == [0, 0]
    bare, seeded = (last_words(log)["windows"] for _, log in both)
    assert bare["warmup"] == STREAMS * MORE
    assert seeded["warmup"] == 0
    assert STREAMS * MORE <= seeded["sentinel"] <= STREAMS * (MORE + 2)
    assert last_words(both[1][1])["readings"] == STREAMS * (HISTORY + MORE)
