"""A broker that is away for a while: heed stays up, says so, catches up, and accounts for what it did not look at.

HEED_TEST_OUTAGE=60 makes it a full minute.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import Broker, free_port, wait_for
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from whole import kafka_run as k

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]
AWAY_S = float(os.environ.get("HEED_TEST_OUTAGE", "10"))
PARTITIONS, STREAMS, STEP_S, BEFORE_S, AFTER_S, LOOK_S = 4, 40, 0.25, 8.0, 8.0, 0.002
PATIENCE_S = 120
SPEAKS = {"kafka-python": "kafka.", "confluent": "librdkafka."}


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
                self._producer.send("plant", json.dumps(reading).encode(), partition=i // 8 % PARTITIONS)
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


def until_ready(port: int, code: int, saying: str = "") -> None:
    """Until `/-/ready` answers with ``code``, ``saying`` that."""

    def so() -> bool:
        found, said = asked(port, "/-/ready")
        return found == code and saying in said

    wait_for(so, PATIENCE_S)


def config_of(broker: Broker, folder: Path, port: int, library: str) -> Path:
    """A daemon with its page, and its topic of several partitions."""
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    admin.create_topics({"plant": {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    client = {"bootstrap.servers": broker.servers, "group.id": "g", "auto.offset.reset": "earliest"}
    if library == "kafka-python":
        client["max.poll.records"] = "100"  # so that what waited is worked off over many polls
    source = {"type": "kafka", "topics": ["plant"], "client": client, "client_library": library}
    more: dict[str, Any] = {"sources": [source], "logging": {"format": "json"}}
    more["windows"] = {"lateness": "4s", "idle": "5s"}  # shorter than they are away
    return k.config(folder, "", "", "alerts", **more, server={"listen": f"127.0.0.1:{port}"})


def hardly_any_late(last: dict[str, Any], plant: Plant) -> bool:
    """A busy machine may keep some too long; without a wait for each partition it would be most of an outage."""
    return bool(last["readings"] == plant.written and last["late"] <= 0.02 * plant.written)


def test_heed_that_sleeps_for_a_while_costs_no_reading(own_kafka: Broker, tmp_path: Path) -> None:
    """A machine that is suspended, say: all partitions have more than what was known of them."""
    own_kafka.start()
    port = free_port()
    config, log = config_of(own_kafka, tmp_path, port, "kafka-python"), tmp_path / "heed.log"
    heed = k.start_loaded(config, log, LOOK_S)
    plant = Plant(own_kafka.servers)
    plant.start()
    try:
        until_ready(port, 200)
        time.sleep(BEFORE_S)
        heed.send_signal(signal.SIGSTOP)
        time.sleep(AWAY_S)
        heed.send_signal(signal.SIGCONT)
        time.sleep(AFTER_S)
        plant.end()
        k.wait_until_read(heed, tmp_path / "alerts", plant.written)
    finally:
        code = k.stop(heed)
    assert code == 0 and hardly_any_late(k.last_words(log), plant)


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_a_broker_that_is_away_costs_no_reading(own_kafka: Broker, tmp_path: Path, library: str) -> None:
    own_kafka.start()
    port = free_port()
    config, log = config_of(own_kafka, tmp_path, port, library), tmp_path / "heed.log"
    heed = k.start_loaded(config, log, LOOK_S)
    plant = Plant(own_kafka.servers)
    plant.start()
    try:
        until_ready(port, 200)
        time.sleep(BEFORE_S)
        own_kafka.stop()
        until_ready(port, 503, "source kafka: no broker of")
        time.sleep(AWAY_S)
        assert heed.poll() is None and asked(port, "/-/healthy")[0] == 200
        own_kafka.start()
        until_ready(port, 200)
        time.sleep(AFTER_S)
        plant.end()
        k.wait_until_read(heed, tmp_path / "alerts", plant.written)
    finally:
        code = k.stop(heed)
    assert code == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]  # clients' words too come as lines of heed's
    assert any(line.get("logger", "").startswith(SPEAKS[library]) for line in lines)
    told = [line["event"] for line in lines]
    assert "source.failed" in told and "source.recovered" in told
    states = {line["state"] for line in lines[told.index("source.failed") :] if line["event"] == "state.shown"}
    assert "catching_up" in states
    last = k.last_words(log)
    assert last["catching_up"]["windows"] > 0
    windows = last["windows"]
    assert hardly_any_late(last, plant)
    assert windows["due"] == sum(n for outcome, n in windows.items() if outcome != "due")
    steps = (BEFORE_S + AWAY_S + AFTER_S) / STEP_S
    assert windows["due"] - windows["gap"] > 0.9 * steps * STREAMS
    print(f"away for {AWAY_S:g} s: {windows}, {sorted(states)}")
