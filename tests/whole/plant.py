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
AHEAD = 40  # steps: how far the end is written ahead of time, where it is plugged


def world(streams: int, seed: int, history: int, start: int) -> World:
    """Step 0 is ``history`` steps before ``start`` (ns)."""
    return World(streams, seed, STEP, start - history * STEP, group_size=(6, 10))


def main(given: dict[str, Any]) -> None:
    """Write ``history`` steps at once, then ``seconds`` as time passes.

    ``given``: servers, suffix (of the topics), streams, seed, history, start (ns), seconds, faults (how many); names
    (of faults), tail (seconds without a fault at the end) and plug (a message that is no reading, written last of each
    topic, behind steps that come ahead of their time) may be left out.
    Prints the faults as one JSON line first, and a line when the history is written.
    """
    made = world(given["streams"], given["seed"], given["history"], given["start"])
    end = given["start"] + given["seconds"] * SECOND
    last = end - given.get("tail", 9) * SECOND
    names = given.get("names", DEMO_FAULTS)
    planned = made.plan(given["start"] + 4 * SECOND, last, names, given["faults"], gap_steps=given.get("gap", 60))
    print(json.dumps([told(f) for f in planned if f.kind == "fault"]), flush=True)
    producer = KafkaProducer(bootstrap_servers=given["servers"], linger_ms=10, acks=1, reconnect_backoff_max_ms=500)
    topics = [TOPIC[labels["kind"]] + given["suffix"] for labels in made.labels]
    steps = given["history"] + given["seconds"] * 4
    in_time = steps - AHEAD if "plug" in given else steps
    for k in range(steps):
        due = (made.start_ns + min(k, in_time) * STEP - time.time_ns()) / 1e9
        if due > 0:
            time.sleep(due)
        write(producer, made, topics, k)
        if k == given["history"]:
            print("history", flush=True)
    for topic in sorted(set(topics)) if "plug" in given else ():
        producer.send(topic, given["plug"].encode())
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
