"""A flood of messages, three in ten broken in twenty ways: the good are read, the bad are dead letters, sums are exact.

`HEED_FLOOD=1000000 pytest tests/whole/test_flood.py` runs it with a million.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import all_on
from kafka import KafkaProducer

from connectors.batch import SECOND
from connectors.clock import WallClock
from connectors.formats.codec import Codec
from connectors.kafka.source import KafkaSource
from stream.app.parts import Cost, monitor_of, world_of
from stream.settings import load

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
Topic = Callable[..., str]

MESSAGES = int(os.environ.get("HEED_FLOOD", "20000"))
STREAMS = 50
START_MS = 1_700_000_000_000


def good(n: int) -> dict[str, object]:
    at = START_MS + n // STREAMS * 1000
    return {"machine": f"m{n % 5}", "sensor": f"s{n % STREAMS}", "ts": at, "value": float(np.sin(n))}


def bent(**changes: object) -> Callable[[int], bytes]:
    """A good message with some fields changed; ``...`` takes one away."""

    def make(n: int) -> bytes:
        changed = {**good(n), **changes}
        return json.dumps({name: value for name, value in changed.items() if value is not ...}).encode()

    return make


def whole(data: bytes | None) -> Callable[[int], bytes | None]:
    return lambda _: data


WAYS: list[tuple[str, Callable[[int], bytes | None]]] = [
    ("empty", whole(None)),
    ("empty", whole(b"")),
    ("empty", whole(b" \n ")),
    ("malformed", lambda n: json.dumps(good(n)).encode()[:-7]),
    ("malformed", lambda n: b"\xff\xfe" + json.dumps(good(n)).encode()),
    ("malformed", whole(b'{"machine":' * 300)),
    ("malformed", whole(b"\x00\x01\x02Avro")),
    ("malformed", lambda n: json.dumps(good(n)).encode() * 2),
    ("not_object", whole(b"17")),
    ("not_object", lambda n: json.dumps([n]).encode()),
    ("missing_stream", bent(machine=...)),
    ("missing_stream", bent(sensor=None)),
    ("missing_time", bent(ts=...)),
    ("missing_value", bent(value=...)),
    ("wrong_type", bent(value="12 C")),
    ("wrong_type", bent(value={"now": 1})),
    ("wrong_type", bent(machine=[1])),
    ("bad_time", bent(ts="noon")),
    ("bad_time", bent(ts=10**30)),
    ("bad_stream", bent(machine="a\x00b")),
    ("oversize", lambda n: b'{"pad":"' + b"x" * 5000 + b'"}'),
]


def flood(servers: str, topic: str, total: int) -> tuple[Counter[str], int]:
    """Write all of it; how many are broken by reason, and how many are good."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=50, batch_size=1 << 18, compression_type="lz4")
    rng = np.random.default_rng(0)
    ways = np.where(rng.random(total) < 0.3, rng.integers(0, len(WAYS), total), -1).tolist()
    reasons: Counter[str] = Counter()
    for n, way in enumerate(ways):
        value = json.dumps(good(n)).encode() if way < 0 else WAYS[way][1](n)
        key = b"k" if value is None else None
        producer.send(topic, value=value, key=key, partition=n % 2, timestamp_ms=START_MS + n)
        if way >= 0:
            reasons[WAYS[way][0]] += 1
    producer.flush(60)
    producer.close()
    return reasons, total - sum(reasons.values())


def letters(servers: str, topic: str) -> Iterator[tuple[str, int, int]]:
    """Reason, source partition and offset of every dead letter."""
    for record in all_on(servers, topic):
        told = dict(record.headers)
        partition, offset = (int(told[f"__streams.errors.{name}"]) for name in ("partition", "offset"))
        yield told["heed.reason"].decode(), partition, offset


@pytest.mark.timeout(7200 if MESSAGES > 100_000 else 300)
def test_of_a_flood_of_broken_messages_each_is_told_of_once_and_each_good_one_is_scored(
    kafka: str, topic: Topic, tmp_path: Path
) -> None:
    keep = {"retention.ms": "-1"}  # the records are old, and what is old the broker takes away
    plant, dead = topic(2, **keep), topic(name="dead", **keep)
    reasons, readings = flood(kafka, plant, MESSAGES)
    assert len(WAYS) >= 20 and sum(reasons.values()) > 0.25 * MESSAGES
    given = {
        "sources": [{"type": "stdin"}],
        "streams": [{"match": "*", "step": "1s"}],
        "model": {"name": "none"},
        "windows": {"idle": "1d"},  # a partition that waits for its dead letters on a busy machine is not given up
    }
    config = tmp_path / "heed.yaml"
    config.write_text(json.dumps(given))
    settings = load(config)
    world = world_of(WallClock(), settings)
    monitor = monitor_of(settings, world, [], None, Cost())
    client = {"bootstrap.servers": kafka, "group.id": f"g.{plant}", "auto.offset.reset": "earliest"}
    codec = Codec("json", {"stream": "{machine}/{sensor}"}, "ms", None, world.table, 4000)
    source = KafkaSource(client, codec, world.partitions, world.clock, topics=[plant], dead_letter=dead)
    counts: Counter[str] = Counter()
    seen = np.zeros(MESSAGES, np.int32)
    end = time.monotonic() + (6000 if MESSAGES > 100_000 else 120)
    try:
        while counts["records"] < MESSAGES:
            assert time.monotonic() < end, f"{counts}, {source.problem}"
            batch = source.poll(world.clock.now() + SECOND // 10)
            counts.update(batch.counts)
            np.add.at(seen, batch.offset * 2 + batch.partition, 1)
            monitor.step(batch, world.clock.now())
    finally:
        source.close()
    bad = {reason.removeprefix("undecodable."): n for reason, n in counts.items() if "." in reason}
    assert counts["records"] == MESSAGES and counts["undecodable"] == sum(reasons.values()) and bad == dict(reasons)
    assert int(seen.sum()) == readings and seen.max() == 1
    used = dict(monitor.parts.windows.counts)
    assert used.pop("readings") == readings and set(used.values()) == {0}
    told = list(letters(kafka, dead))
    assert Counter(reason for reason, *_ in told) == reasons
    assert len({tuple(where) for _, *where in told}) == len(told), "each once"
    assert not any(seen[offset * 2 + world.partitions.number(f"{plant}/{part}")] for _, part, offset in told)
