"""kill -9 at twenty random moments under load: one alert for each fault, all windows counted, the same evidence."""

from __future__ import annotations

import json
import random
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from kafka.admin import KafkaAdminClient

from stream.ledger import OUTCOMES
from whole import kafka_run as k
from whole.evidence import differences, evidence

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
STREAMS, SECONDS, HISTORY, KILLS, FAULTS = 500, 90, 240, 20, 14
TAIL_S = 15  # from the last fault's end to the last reading: until its alert has resolved
RULES = {
    "groups": [
        {
            "name": "plant",
            "rules": [
                {"alert": "Anomaly", "expr": "score >= 1", "keep_firing_for": "2s", "cool_down": "30s"},
                {"alert": "Away", "expr": 'score >= 1 and abs(value - avg_over("value", "10s")) > 0'},
                {"alert": "Often", "expr": 'count_over(score > 0.6, "10s") >= 3 and max_over("score", "10s") > 0.9'},
                {"alert": "OfGroup", "expr": "group_max(score) >= 1.3", "keep_firing_for": "4s"},
            ],
        }
    ]
}


def at_start_up(heed: subprocess.Popen[bytes], state: Path, rng: random.Random) -> None:
    """While it loads, opens, restores or joins its group."""
    time.sleep(0.3 + 2.2 * rng.random())


def at_work(heed: subprocess.Popen[bytes], state: Path, rng: random.Random) -> None:
    until_it_works(heed, state)
    time.sleep(1.5 * rng.random())


def in_a_checkpoint(heed: subprocess.Popen[bytes], state: Path, rng: random.Random) -> None:
    """While it writes a checkpoint, or within a moment of that."""
    until_it_works(heed, state)
    time.sleep(0.5 * rng.random())
    until_seen(heed, (state / "checkpoint.tmp").exists)
    time.sleep(0.004 * rng.random())


def in_a_commit(heed: subprocess.Popen[bytes], state: Path, rng: random.Random) -> None:
    """While SQLite writes its log, or within a moment of that."""
    until_it_works(heed, state)
    time.sleep(0.5 * rng.random())
    log = state / "state.db-wal"
    before = log.stat().st_mtime_ns if log.exists() else 0
    until_seen(heed, lambda: log.exists() and log.stat().st_mtime_ns != before)
    time.sleep(0.002 * rng.random())


def until_it_works(heed: subprocess.Popen[bytes], state: Path) -> None:
    """Until it has committed more than those before it."""
    before = k.positions(state)
    until_seen(heed, lambda: k.positions(state) > before)


def until_seen(heed: subprocess.Popen[bytes], happens: Callable[[], bool]) -> None:
    """At most for a while: there may be nothing more to read."""
    end = time.monotonic() + 10
    while not happens() and time.monotonic() < end:
        assert heed.poll() is None


MOMENTS = (at_start_up, at_work, in_a_checkpoint, in_a_commit)


def config(folder: Path, servers: str, suffix: str, name: str, plug: str, **client: str) -> Path:
    """Commits and checkpoints often; a budget that sheds nothing; dead letters that can't be written."""
    rules = folder / "rules.yaml"
    rules.write_text(json.dumps(RULES))
    path = k.config(
        folder, servers, suffix, name,
        budget={"latency": "60s"},
        windows={"lateness": "6s"},
        rule_files=[str(rules)],
        state={"path": str(folder / name), "commit": "100ms", "checkpoint": "500ms"},
    )  # fmt: skip
    tree = json.loads(path.read_text())
    tree["sources"][0]["dead_letter_topic"] = plug
    tree["sources"][0]["client"].update(client)
    path.write_text(json.dumps(tree))
    return path


def plug_topic(servers: str, suffix: str) -> str:
    """A topic that takes no dead letter: behind one, event time stands still, at the same place for everybody."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    name = f"plug-{suffix}"
    one = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "1"}}
    admin.create_topics({name: one}, wait_for_metadata=True)
    admin.close()
    return name


def readings_on(servers: str, suffix: str) -> int:
    """How many records lie before the plugs."""
    return k.records_on(servers, suffix) - len(k.TOPICS)


def seen(messages: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    """How often each alert change was told; rule and stream stand beside the key."""
    keys = ("fingerprint", "starts_at", "status", "rule")
    return Counter((*(m[key] for key in keys), m["labels"].get("stream", "")) for m in messages)


def alerts_of(fault: dict[str, Any], told: Iterable[tuple[str, ...]]) -> list[str]:
    """What was told of the stream of a fault by alerts that began in it, or soon after it: each change once."""
    changes = []
    for _, starts_at, status, rule, stream in told:
        began = datetime.fromisoformat(starts_at).timestamp() * 1e9
        if (rule, stream) == ("Anomaly", *fault["streams"]) and fault["start"] - 1e6 < began < fault["end"] + 2e9:
            changes.append(status)
    return sorted(changes)


def test_twenty_kills_under_load_change_nothing(kafka: str, tmp_path: Path) -> None:
    suffix = uuid.uuid4().hex[:8]
    killed, calm = f"killed-{suffix}", f"undisturbed-{suffix}"
    k.make_topics(kafka, suffix, killed)
    k.make_topics(kafka, "x" + suffix, calm)
    plug = plug_topic(kafka, suffix)
    member = {"group.instance.id": "one"}  # so that the group deals out nothing anew after a kill
    files = {name: config(tmp_path, kafka, suffix, name, plug, **member) for name in (killed, calm)}
    start = k.now_ns() + 5_000_000_000
    plant, faults = k.start_plant(
        {
            "servers": kafka, "suffix": suffix, "streams": STREAMS, "seed": 5, "history": HISTORY, "start": start,
            "seconds": SECONDS, "faults": FAULTS, "tail": TAIL_S, "names": ["spike", "level_shift", "noise_burst"],
            "plug": "no reading", "gap": 100,
        }
    )  # fmt: skip
    rng = random.Random(7)
    moments = [moment for moment in MOMENTS for _ in range(KILLS // len(MOMENTS))]
    rng.shuffle(moments)
    for moment in moments:
        heed = k.start_heed(files[killed], tmp_path / f"{killed}.log")
        moment(heed, tmp_path / killed, rng)
        heed.kill()
        assert heed.wait() == -9
    assert plant.wait(180) == 0
    logs = {name: tmp_path / f"{name}.log" for name in files}
    begun = {name: k.starts(log) for name, log in logs.items()}
    daemons = {name: k.start_heed(files[name], logs[name]) for name in files}
    for name, heed in daemons.items():
        wait_for(lambda name=name: k.starts(logs[name]) > begun[name])  # the killed one may have read all before
        k.wait_until_read(heed, tmp_path / name, readings_on(kafka, suffix))
    assert k.stop(daemons[calm]) == 0

    def alike() -> bool:
        return not differences(*(evidence(tmp_path / name) for name in files))

    wait_for(alike, 120)  # having read all does not mean to have judged once more what the last checkpoint had open
    assert k.stop(daemons[killed]) == 0

    for name in files:
        last = k.last_words(logs[name])
        windows = last["windows"]
        assert windows["due"] == sum(windows[outcome] for outcome in OUTCOMES)
        assert windows["shed"] == last["late"] == 0
    told, wanted = (seen(k.alerts_on(kafka, name)) for name in (killed, calm))
    assert set(told) == set(wanted)
    assert max(wanted.values()) == 1
    assert len(faults) == FAULTS
    assert [alerts_of(fault, told) for fault in faults] == [["firing", "resolved"]] * FAULTS
    assert k.ledger(tmp_path / killed) == k.ledger(tmp_path / calm)
    assert alike()
