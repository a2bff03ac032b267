"""A real Kafka broker to measure against, and topics on it full of readings."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.arrow import long
from connectors.batch import SECOND
from connectors.clock import WallClock

RUN = Path(__file__).parent.parent / "deploy" / "dev" / "kafka" / "run.sh"
PACKED = 500  # readings in a packed message
GROUP = 16  # streams in a group
PACKED_ARROW = 5_000  # the same in Arrow, which pays from a thousand on
_SPARE = 200_000  # readings, more than a poll brings
FORMS = ("single", "list", "columns", "arrow")  # a reading a message; PACKED as a list of objects; in columns; Arrow


class NoBroker(RuntimeError):
    """There is no broker to measure against; the message says what is missing."""


@contextmanager
def broker() -> Iterator[str]:
    """Bootstrap servers: HEED_TEST_KAFKA where it is set, else those of a broker that lives as long as this."""
    named = os.environ.get("HEED_TEST_KAFKA")
    if named:
        yield named
        return
    missing = [what for what in ("java", "mvn") if shutil.which(what) is None]
    if missing or not RUN.exists():
        raise NoBroker(f"HEED_TEST_KAFKA names no broker, and there is no {' and no '.join(missing) or RUN}")
    with TemporaryDirectory(prefix="heed-bench-kafka-") as folder:
        port, controller = _free_port(), _free_port()
        command = [str(RUN), str(port), folder, str(controller)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            if process.stdout is None or not process.stdout.readline().startswith("ready"):
                raise NoBroker(f"{RUN} could not start a broker")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_topic(servers: str, name: str, partitions: int = 1) -> str:
    """A topic that nobody else uses."""
    topic = f"bench.{name}.{uuid.uuid4().hex[:8]}"
    admin = import_module("kafka.admin").KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    return topic


def spare(streams: int) -> int:
    """Steps to write behind those measured: who reads a topic to its end judges the silence behind it, too."""
    return -(-_SPARE // streams)


def clients(skipped: list[str]) -> list[str]:
    """The clients that can be measured; ``skipped`` gets why another can't."""
    if util.find_spec("confluent_kafka") is None:
        skipped.append("confluent: pip install heed-monitor[fast]")
        return ["kafka-python"]
    return ["kafka-python", "confluent"]


def measure(servers: str, topic: str, form: str, streams: int, steps: int, partitions: int = 1) -> dict[str, Any]:
    """Write ``steps`` readings of each stream at 1 Hz, ending now, in one of FORMS; tells how many, and their bytes.

    Each of the ``partitions`` gets as many of the streams, whole groups where that goes.
    """
    send, flush = _producer(servers, topic)
    rng = np.random.default_rng(0)
    names = [(f"m{at // GROUP}", f"s{at % GROUP}") for at in range(streams)]
    parts = [slice(at * streams // partitions, (at + 1) * streams // partitions) for at in range(partitions)]
    first, size = WallClock().now() // SECOND - steps, 0
    for step in range(steps):
        values = np.round(20 + rng.standard_normal(streams), 3).tolist()
        for partition, part in enumerate(parts):
            for message in _messages(form, names[part], (first + step) * 1000, values[part]):
                size += len(message)
                send(message, partition)
    flush()
    return {"readings": streams * steps, "bytes": size}


def _producer(servers: str, topic: str) -> tuple[Callable[[bytes, int], object], Callable[[], object]]:
    """What sends a message and what waits for all; librdkafka where it is installed, for it is quicker."""
    if util.find_spec("confluent_kafka") is None:
        options = {"bootstrap_servers": servers, "linger_ms": 20, "batch_size": 1 << 17}
        slow = import_module("kafka").KafkaProducer(**options)
        return lambda message, partition: slow.send(topic, message, partition=partition), slow.close
    options = {"bootstrap.servers": servers, "linger.ms": 20, "batch.size": 1 << 17}
    quick = import_module("confluent_kafka").Producer({**options, "queue.buffering.max.messages": 10_000_000})
    return lambda message, partition: quick.produce(topic, message, partition=partition), quick.flush


def _messages(form: str, names: list[tuple[str, str]], ms: int, values: list[float]) -> Iterator[bytes]:
    if form == "columns":
        for at in range(0, len(names), PACKED):
            machines, sensors = zip(*names[at : at + PACKED], strict=True)
            yield _json({"machine": machines, "sensor": sensors, "ts": ms, "value": values[at : at + PACKED]})
        return
    if form == "arrow":
        for at in range(0, len(names), PACKED_ARROW):
            machines, sensors = zip(*names[at : at + PACKED_ARROW], strict=True)
            yield long(machines, sensors, [ms] * len(machines), values[at : at + PACKED_ARROW])
        return
    readings = [
        {"machine": machine, "sensor": sensor, "ts": ms, "value": value}
        for (machine, sensor), value in zip(names, values, strict=True)
    ]
    if form == "single":
        yield from map(_json, readings)
        return
    for at in range(0, len(readings), PACKED):
        yield _json(readings[at : at + PACKED])


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
