"""A plant, roads and markets that write to Kafka as they go, in a process of their own: see `main`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from kafka import KafkaProducer

from connectors.batch import SECOND
from connectors.synthetic import DEMO_FAULTS, World

STEP = SECOND // 4
TOPIC = {"sensor": "plant", "traffic": "roads", "market": "markets"}


def world(streams: int, seed: int, history: int, start: int) -> World:
    """Step 0 is ``history`` steps before ``start`` (ns)."""
    return World(streams, seed, STEP, start - history * STEP, group_size=(6, 10))


def main(given: dict[str, Any]) -> None:
    """Write ``history`` steps at once, then ``seconds`` as time passes.

    ``given``: servers, suffix (of the topics), streams, seed, history, start (ns), seconds, faults (how many).
    Prints the faults as one JSON line first, and a line when the history is written.
    """
    made = world(given["streams"], given["seed"], given["history"], given["start"])
    end = given["start"] + given["seconds"] * SECOND
    planned = made.plan(given["start"] + 4 * SECOND, end - 9 * SECOND, DEMO_FAULTS, given["faults"], gap_steps=60)
    print(json.dumps([told(f) for f in planned if f.kind == "fault"]), flush=True)
    producer = KafkaProducer(bootstrap_servers=given["servers"], linger_ms=10, acks=1)
    topics = [TOPIC[labels["kind"]] + given["suffix"] for labels in made.labels]
    steps = given["history"] + given["seconds"] * 4
    for k in range(steps):
        due = (made.start_ns + k * STEP - time.time_ns()) / 1e9
        if due > 0:
            time.sleep(due)
        write(producer, made, topics, k)
        if k == given["history"]:
            print("history", flush=True)
    producer.flush()
    print("done", flush=True)


def told(fault: Any) -> dict[str, Any]:
    streams = [] if fault.group_wide else list(fault.streams)
    return {"name": fault.name, "group": fault.group, "streams": streams, "start": fault.start, "end": fault.end}


def write(producer: KafkaProducer, made: World, topics: list[str], k: int) -> None:
    at = (made.start_ns + k * STEP) // 1_000_000
    for i, value in enumerate(made.step(k, 1)[0].tolist()):
        if value == value:
            reading = {"stream": made.names[i], "group": made.groups[i], "ts": at, "value": value}
            producer.send(topics[i], json.dumps(reading).encode(), key=made.groups[i].encode())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
