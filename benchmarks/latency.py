"""From the moment a step is due until its alert is on the alert topic, or at a webhook: one host, a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
receivers: [{{name: hook, webhook: {{url: "{url}"}}}}]
route: {{receiver: hook, group_by: [alertname, stream], group_wait: 0s, group_interval: 1s}}
state: {{path: {folder}/state}}
server: {{listen: none}}
"""
_RULES = "groups: [{name: latency, rules: [{alert: High, expr: 'value > 90'}]}]\n"


def figures() -> dict[str, Any]:
    """Milliseconds from due to arrival, by client, on the topic and at a webhook; ``skipped``: why there are none."""
    skipped: list[str] = []
    try:
        with broker() as servers:
            found = [each for library in clients(skipped) for each in measure(servers, library)]
            return {"found": found, "skipped": skipped}
    except NoBroker as error:
        return {"found": [], "skipped": [str(error)]}


def measure(servers: str, library: str, seconds: int = SECONDS) -> list[dict[str, Any]]:
    """Run the daemon over ``RATE`` readings a second of which some are out of bounds; p50 and p99 of the delays."""
    with _Hook() as hook:
        return _measured(servers, library, seconds, hook)


def _measured(servers: str, library: str, seconds: int, hook: _Hook) -> list[dict[str, Any]]:
    topic, alerts = new_topic(servers, "latency"), new_topic(servers, "latency-alerts")
    with TemporaryDirectory(prefix="heed-bench-") as folder:
        config = Path(folder) / "heed.yaml"
        given = {"topic": topic, "alerts": alerts, "servers": servers, "folder": folder, "library": library}
        config.write_text(_CONFIG.format(url=hook.url, **given))
        (Path(folder) / "rules.yaml").write_text(_RULES)
        listener = _Listener(servers, alerts)
        with _daemon(config) as log:
            _send(servers, topic, seconds)
            listener.stop(_END_S)
        said = log.read_text()
    if not listener.delays or not hook.delays:
        raise RuntimeError(f"no alert came; the daemon said:\n{said[-2000:]}")
    return [_row(library, "topic", listener.delays), _row(library, "webhook", hook.delays)]


@contextmanager
def _daemon(config: Path) -> Iterator[Path]:
    """Runs meanwhile; the file of its log, for a pipe that nobody reads is full one day and holds it up."""
    log = config.parent / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen([sys.executable, "-m", "stream.cli", "run", "-c", str(config)], stderr=out)
    try:
        yield log
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def _row(library: str, where: str, delays_ns: list[int]) -> dict[str, Any]:
    p50, p99, most = np.percentile(np.array(delays_ns) / 1e6, [50, 99, 100]).round(1).tolist()
    return {"client": library, "to": where, "alerts": len(delays_ns), "p50_ms": p50, "p99_ms": p99, "max_ms": most}


class _Arrivals:
    """Notes how long after their step was due alerts that fire arrive; those of the first seconds don't count."""

    def __init__(self) -> None:
        self.delays: list[int] = []  # ns
        self._clock = WallClock()
        self._began = self._clock.now()

    def note(self, starts_at: str, now: int) -> None:
        """An alert that fired at ``starts_at`` (RFC 3339) is here at ``now`` (ns)."""
        if now - self._began >= _LEAD_S * SECOND:
            start = round(datetime.fromisoformat(starts_at).timestamp() * 1e9)
            self.delays.append(now - (start + SECOND + LATENESS_NS))


class _Hook(_Arrivals):
    """A webhook on loopback."""

    def __init__(self) -> None:
        super().__init__()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["content-length"])))
                now = hook._clock.now()
                for alert in said["alerts"]:
                    if alert["status"] == "firing" and said["reason"] == "new_group":
                        hook.note(alert["startsAt"], now)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *said: object) -> None:
                """Nobody wants to know."""

        return Handler

    def __enter__(self) -> _Hook:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Listener(_Arrivals):
    """Notes when alerts arrive: the time at which a consumer's poll gives them out."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__()
        self._stopped = threading.Event()
        options = {"bootstrap_servers": servers, "auto_offset_reset": "earliest", "group_id": None}
        self._consumer = import_module("kafka").KafkaConsumer(topic, fetch_max_wait_ms=50, **options)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            found = self._consumer.poll(timeout_ms=100)
            now = self._clock.now()
            for record in (record for records in found.values() for record in records):
                alert = json.loads(record.value)
                if alert["status"] == "firing":
                    self.note(alert["starts_at"], now)

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
            f"due to alert at the {run['to']}, {run['client']}, {RATE:,} readings a second: p50 {run['p50_ms']:g} ms, "
            f"p99 {run['p99_ms']:g} ms (at most {TARGET_MS:g}: {met}), {run['alerts']} alerts"
        )
    for line in found["skipped"]:
        yield f"skipped: {line}"
