"""From the moment a step is due until its alert stands on the alert topic: one host, a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.broker import NoBroker, broker, clients, new_topic
from connectors.batch import SECOND
from connectors.clock import WallClock

TARGET_MS = 100.0
RATE, SECONDS = 1_000, 40  # readings a second, one of each stream; how long
LATENESS_NS = SECOND // 2
_EACH = 97  # about one stream in so many is out of bounds for a step, another one at each step
_HIGH = 95.0
_LEAD_S = 8  # before that, partitions are placed and modules imported
_END_S = 5

_CONFIG = """
sources:
  - type: kafka
    topics: [{topic}]
    client_library: {library}
    client: {{bootstrap.servers: "{servers}", group.id: "{topic}", auto.offset.reset: latest}}
    fields: {{stream: stream, time: ts, value: value}}
streams: [{{match: "*", step: 1s}}]
windows: {{lateness: 500ms}}
model: {{name: none}}
rule_files: [{folder}/rules.yaml]
sinks: [{{type: kafka, topic: {alerts}}}]
state: {{path: {folder}/state}}
server: {{listen: none}}
"""
_RULES = "groups: [{name: latency, rules: [{alert: High, expr: 'value > 90'}]}]\n"


def figures() -> dict[str, Any]:
    """Milliseconds from due to arrival, for each client; ``skipped`` tells why there are none."""
    skipped: list[str] = []
    try:
        with broker() as servers:
            return {"found": [measure(servers, library) for library in clients(skipped)], "skipped": skipped}
    except NoBroker as error:
        return {"found": [], "skipped": [str(error)]}


def measure(servers: str, library: str, seconds: int = SECONDS) -> dict[str, Any]:
    """Run the daemon over ``RATE`` readings a second of which some are out of bounds; p50 and p99 of the delay."""
    topic, alerts = new_topic(servers, "latency"), new_topic(servers, "latency-alerts")
    with TemporaryDirectory(prefix="heed-bench-") as folder:
        config = Path(folder) / "heed.yaml"
        config.write_text(_CONFIG.format(topic=topic, alerts=alerts, servers=servers, folder=folder, library=library))
        (Path(folder) / "rules.yaml").write_text(_RULES)
        command = [sys.executable, "-m", "stream.cli", "run", "-c", str(config)]
        daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        listener = _Listener(servers, alerts)
        try:
            _send(servers, topic, seconds)
            listener.stop(_END_S)
        finally:
            daemon.send_signal(signal.SIGTERM)
            _, said = daemon.communicate(timeout=30)
    if not listener.delays:
        raise RuntimeError(f"no alert came; the daemon said:\n{said[-2000:]}")
    delays = np.array(listener.delays) / 1e6
    p50, p99, most = np.percentile(delays, [50, 99, 100]).round(1).tolist()
    return {"client": library, "alerts": len(delays), "p50_ms": p50, "p99_ms": p99, "max_ms": most}


class _Listener:
    """Notes when alerts arrive: the time at which a consumer's poll gives them out."""

    def __init__(self, servers: str, topic: str) -> None:
        self.delays: list[int] = []  # ns
        self._stopped, self._clock, self._began = threading.Event(), WallClock(), WallClock().now()
        options = {"bootstrap_servers": servers, "auto_offset_reset": "earliest", "group_id": None}
        self._consumer = import_module("kafka").KafkaConsumer(topic, fetch_max_wait_ms=50, **options)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            found = self._consumer.poll(timeout_ms=100)
            now = self._clock.now()
            for record in (record for records in found.values() for record in records):
                self._note(json.loads(record.value), now)

    def _note(self, alert: Mapping[str, Any], now: int) -> None:
        if alert["status"] != "firing" or now - self._began < _LEAD_S * SECOND:
            return
        start = round(datetime.fromisoformat(alert["starts_at"]).timestamp() * 1e9)
        self.delays.append(now - (start + SECOND + LATENESS_NS))

    def stop(self, wait_s: float) -> None:
        """After ``wait_s`` more."""
        self._stopped.wait(wait_s)
        self._stopped.set()
        self._thread.join()
        self._consumer.close()


def _send(servers: str, topic: str, seconds: int) -> None:
    """One reading of each of ``RATE`` streams a second, spread over the second, as they would come live."""
    producer, clock = import_module("kafka").KafkaProducer(bootstrap_servers=servers, linger_ms=0), WallClock()
    began, pieces = clock.now(), 50
    for piece in range(seconds * pieces):
        step, part = divmod(piece, pieces)
        clock.wait(began + piece * SECOND // pieces)
        ms = clock.now() // 1_000_000
        for stream in range(part, RATE, pieces):
            value = _HIGH if (stream + 31 * step) % _EACH == 0 else 20.0
            producer.send(topic, json.dumps({"stream": f"g{stream % 50}/s{stream}", "ts": ms, "value": value}).encode())
    producer.close()


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for run in found["found"]:
        met = "met" if run["p99_ms"] <= TARGET_MS else "MISSED"
        yield (
            f"due to alert on the topic, {run['client']}, {RATE:,} readings a second: p50 {run['p50_ms']:g} ms, "
            f"p99 {run['p99_ms']:g} ms (at most {TARGET_MS:g}: {met}), {run['alerts']} alerts"
        )
    for line in found["skipped"]:
        yield f"skipped: {line}"
