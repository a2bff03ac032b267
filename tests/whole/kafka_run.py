"""What the whole-system tests share: configurations, processes, and what came out on the alert topic."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from conftest import all_on
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.keeping.store import Store

HERE = Path(__file__).parent
TOPICS = ("plant", "roads", "markets")
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}  # as most containers run


def make_topics(servers: str, suffix: str, alerts: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    names = [name + suffix for name in TOPICS] + [alerts]
    one = {"num_partitions": 1, "replication_factor": 1}
    admin.create_topics(dict.fromkeys(names, one), wait_for_metadata=True)
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
        "model": {"name": "builtin", "false_alarms": 1},
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


STARTED: list[subprocess.Popen[bytes]] = []  # none of them outlives its test (conftest.py)


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        STARTED.append(subprocess.Popen(command, stderr=out, stdout=out, env=ENV))
    return STARTED[-1]


def start_heed(config: Path, log: Path, each: float = 0.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(config), "--no-web"]
    if each:
        command = [sys.executable, str(HERE / "run_loaded.py"), str(config), str(each)]
    return _started(command, log)


def start_loaded(config: Path, log: Path, each: float) -> subprocess.Popen[bytes]:
    """A daemon with its page whose looks cost ``each`` seconds more."""
    command = [sys.executable, str(HERE / "run_loaded.py"), str(config), str(each), "web"]
    return _started(command, log)


def start_heed_with(config: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A daemon with its page, where the configuration has one."""
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(config), *arguments]
    return _started(command, log)


def starts(log: Path) -> int:
    """How many daemons with this log have begun to read, and could be told to stop."""
    return log.read_text().count('"event": "daemon.started"') if log.exists() else 0


def stop(process: subprocess.Popen[bytes], patience_s: float = 120) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(patience_s)


def wait_until_read(heed: subprocess.Popen[bytes], state: Path, records: int, patience_s: float = 180) -> None:
    """Until a daemon has read so many records, as committed, and so has judged all that they close."""
    end = time.monotonic() + patience_s
    while (read := positions(state)) < records:
        assert time.monotonic() < end and heed.poll() is None, f"{read} of {records}"
        time.sleep(0.2)
    assert read == records


def records_on(servers: str, suffix: str) -> int:
    """How many records the topics of readings have now."""
    parts = [TopicPartition(name + suffix, 0) for name in TOPICS]
    with closing(KafkaConsumer(bootstrap_servers=servers, group_id=None)) as consumer:
        return sum(consumer.end_offsets(parts).values())


def positions(state: Path) -> int:
    """Records read, as committed; 0 before there is a state."""
    try:
        with sqlite3.connect(f"file:{state / 'state.db'}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT coalesce(sum(next_offset), 0) FROM positions").fetchone()[0])
    except sqlite3.Error:
        return 0


def ledger(state: Path) -> dict[str, list[int]]:
    """Counts by outcome of every stream, as committed."""
    store = Store(state)
    try:
        names, counts = store.part("ledger"), store.columns("ledger.")["counts"]
        return {name: counts[:, i].tolist() for i, name in enumerate(names)}
    finally:
        store.close()


def said(log: Path) -> list[dict[str, Any]]:
    """The lines of a daemon's log."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def last_words(log: Path) -> dict[str, Any]:
    """The line with which a daemon ended."""
    return next(line for line in reversed(said(log)) if line["event"] == "daemon.stopped")


def alerts_on(servers: str, topic: str, isolation: str = "read_uncommitted") -> list[dict[str, Any]]:
    """Every message on the alert topic, in order."""
    return [json.loads(record.value) for record in all_on(servers, topic, isolation)]


def distinct(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts that fired, once each: what is left after deduplication by fingerprint and start."""
    fired = {(m["fingerprint"], m["starts_at"]): m for m in messages if m["status"] == "firing"}
    return list(fired.values())


def now_ns() -> int:
    return time.time_ns() // 250_000_000 * 250_000_000
