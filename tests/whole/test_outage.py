"""A broker that is away for a while: heed stays up, says so, catches up, and accounts for what it did not look at.

HEED_TEST_OUTAGE=60 makes it a full minute.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import Broker, free_port
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from whole import kafka_run as k

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]
AWAY_S = float(os.environ.get("HEED_TEST_OUTAGE", "10"))
STREAMS, STEP_S, BEFORE_S, AFTER_S, LOOK_S = 40, 0.25, 8.0, 8.0, 0.002


class Plant(threading.Thread):
    """Writes every step for as long as it runs; what no broker takes waits in the producer."""

    def __init__(self, servers: str) -> None:
        super().__init__(daemon=True)
        self._producer = KafkaProducer(
            bootstrap_servers=servers, delivery_timeout_ms=200_000, request_timeout_ms=5_000, linger_ms=5,
            max_block_ms=100_000, reconnect_backoff_max_ms=500,
        )  # fmt: skip
        self.written, self._over = 0, threading.Event()

    def run(self) -> None:
        step = 0
        while not self._over.wait(STEP_S):
            step, now = step + 1, time.time_ns() // 1_000_000
            for i in range(STREAMS):
                reading = {"stream": f"press{i // 8}/s{i}", "ts": now, "value": (step * (i + 3)) % 17 / 7}
                self._producer.send("plant", json.dumps(reading).encode())
                self.written += 1

    def end(self) -> None:
        self._over.set()
        self.join()
        self._producer.flush(60)
        self._producer.close()


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until_ready(port: int, code: int, seconds: float) -> tuple[str, set[str]]:
    """What `/-/ready` says when it answers with ``code``, and the states that were seen till then."""
    states: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, said = asked(port, "/-/ready")
        status = asked(port, "/api/v1/status")
        if status[0] == 200:
            states.add(json.loads(status[1])["state"])
        if found == code:
            return said, states
        time.sleep(0.05)
    raise AssertionError(f"/-/ready did not answer {code} within {seconds} s")


def test_a_broker_that_is_away_costs_no_reading(own_kafka: Broker, tmp_path: Path) -> None:
    own_kafka.start()
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.servers)
    admin.create_topics({"plant": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    port = free_port()
    client = {"bootstrap.servers": own_kafka.servers, "group.id": "g", "auto.offset.reset": "earliest"}
    more = {"sources": [{"type": "kafka", "topics": ["plant"], "client": client}], "logging": {"format": "json"}}
    config = k.config(tmp_path, "", "", "alerts", **more, server={"listen": f"127.0.0.1:{port}"})
    log = tmp_path / "heed.log"
    heed = k.start_loaded(config, log, LOOK_S)
    plant = Plant(own_kafka.servers)
    plant.start()
    try:
        until_ready(port, 200, 30)
        time.sleep(BEFORE_S)
        own_kafka.stop()
        said, _ = until_ready(port, 503, 15)
        assert "source kafka: no broker of" in said and "since" in said
        time.sleep(AWAY_S)
        assert heed.poll() is None and asked(port, "/-/healthy")[0] == 200
        own_kafka.start()
        _, states = until_ready(port, 200, 30)
        for _ in range(round(AFTER_S / 0.05)):
            states.add(json.loads(asked(port, "/api/v1/status")[1])["state"])
            time.sleep(0.05)
        plant.end()
        k.wait_until_read(heed, tmp_path / "alerts")
    finally:
        code = k.stop(heed)
    assert code == 0
    assert "catching_up" in states
    last = k.last_words(log)
    windows = last["windows"]
    assert last["readings"] == plant.written
    assert windows["due"] == sum(n for outcome, n in windows.items() if outcome != "due")
    steps = (BEFORE_S + AWAY_S + AFTER_S) / STEP_S
    assert windows["due"] - windows["gap"] > 0.9 * steps * STREAMS
    told = [json.loads(line)["event"] for line in log.read_text().splitlines() if line.startswith("{")]
    assert "source.failed" in told and "source.recovered" in told
    print(f"away for {AWAY_S:g} s: {windows}, {sorted(states)}")
