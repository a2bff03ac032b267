"""What the whole-system tests share: configurations, processes, and what came out on the alert topic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient

HERE = Path(__file__).parent
TOPICS = ("plant", "roads", "markets")
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def make_topics(servers: str, suffix: str, alerts: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    names = [name + suffix for name in TOPICS] + [alerts]
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1} for name in names}, wait_for_metadata=True)
    admin.close()


def config(folder: Path, servers: str, suffix: str, alerts: str, **more: Any) -> Path:
    """A configuration file of its own group and state folder."""
    tree = {
        "sources": [
            {
                "type": "kafka",
                "topics": [name + suffix for name in TOPICS],
                "client": {
                    "bootstrap.servers": servers,
                    "group.id": alerts,
                    "auto.offset.reset": "earliest",
                    "session.timeout.ms": "6000",
                },
            }
        ],
        "streams": [{"match": "*", "step": "250ms"}],
        "windows": {"lateness": "500ms"},
        "sinks": [{"type": "kafka", "topic": alerts}],
        "state": {"path": str(folder / alerts), "commit": "250ms", "checkpoint": "2s"},
        **more,
    }
    path = folder / f"{alerts}.yaml"
    path.write_text(json.dumps(tree))
    return path


def start_plant(given: dict[str, Any]) -> tuple[subprocess.Popen[str], list[dict[str, Any]]]:
    """The writer, and the faults it is going to write."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "plant.py"), json.dumps(given)], stdout=subprocess.PIPE, text=True, env=ENV
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def start_heed(config: Path, log: Path, each: float = 0.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(config), "--no-web"]
    if each:
        command = [sys.executable, str(HERE / "run_loaded.py"), str(config), str(each)]
    with log.open("ab") as out:
        return subprocess.Popen(command, stderr=out, stdout=out, env=ENV)


def stop(process: subprocess.Popen[bytes], patience_s: float = 30) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(patience_s)


def last_words(log: Path) -> dict[str, Any]:
    """The line with which a daemon ended."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return next(line for line in reversed(lines) if line["event"] == "daemon.stopped")


def alerts_on(servers: str, topic: str) -> list[dict[str, Any]]:
    """Every message on the alert topic, in order."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=3000, group_id=None
    )
    found = [json.loads(record.value) for record in consumer]
    consumer.close()
    return found


def distinct(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts that fired, once each: what is left after deduplication by fingerprint and start."""
    fired = {(m["fingerprint"], m["starts_at"]): m for m in messages if m["status"] == "firing"}
    return list(fired.values())


def now_ns() -> int:
    return time.time_ns() // 250_000_000 * 250_000_000
