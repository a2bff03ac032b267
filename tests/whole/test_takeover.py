"""Several processes of one group, killed, added, rolled, paused: together they tell what one alone would tell."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from kafka import KafkaConsumer, TopicPartition

from connectors.kafka.state import StateTopic
from connectors.keeping.store import unpacked
from whole import kafka_run as k
from whole import test_kill as kill

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]
STREAMS, SECONDS, HISTORY, FAULTS = 240, 80, 240, 24
TAIL_S = 15


class Group:
    """Processes that read in one group, each with a state folder and a configuration file of its own."""

    def __init__(self, folder: Path, servers: str, suffix: str, alerts: str, plug: str) -> None:
        self._folder, self.given = folder, (servers, suffix, alerts, plug)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._before: dict[str, int] = {}  # lives

    def start(self, name: str) -> None:
        servers, suffix, alerts, plug = self.given
        own = self._folder / name
        own.mkdir(exist_ok=True)
        path = kill.config(own, servers, suffix, alerts, plug)
        tree = json.loads(path.read_text())
        tree["state"] = {"path": str(own / "state"), "shared": True, "commit": "250ms", "checkpoint": "3s"}
        path.write_text(json.dumps(tree))
        log = self._log(name)
        self._before[name] = k.starts(log)
        self.running[name] = k.start_heed(path, log)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def kill(self, name: str) -> None:
        self.running[name].kill()
        assert self.running.pop(name).wait() == -9

    def stop(self, name: str) -> None:
        """In order, which it can do once it has started."""
        wait_for(lambda: k.starts(self._log(name)) > self._before[name], 120)
        assert k.stop(self.running.pop(name)) == 0

    def pause(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGCONT)


def committed(servers: str, group: str, suffix: str) -> int:
    """Records read by a group, as committed."""
    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group, isolation_level="read_committed")
    found = [consumer.committed(TopicPartition(name + suffix, 0)) or 0 for name in k.TOPICS]
    consumer.close()
    return sum(found)


def wait_until_read(servers: str, group: str, suffix: str, patience_s: float = 180) -> None:
    wanted, end = kill.readings_on(servers, suffix), time.monotonic() + patience_s
    while (read := committed(servers, group, suffix)) < wanted:
        assert time.monotonic() < end, f"{read} of {wanted}"
        time.sleep(0.5)


def ledger(servers: str, group: str, suffix: str) -> dict[str, list[int]]:
    """Counts by outcome of every stream, as they stand in the state topic."""
    topic = StateTopic({"bootstrap.servers": servers}, f"{group}.state", group, "reader")
    found: dict[str, list[int]] = {}
    for name, pieces in topic.read([f"{name}{suffix}/0" for name in k.TOPICS]).items():
        columns, about = unpacked(pieces["small"], name)
        assert not found.keys() & set(about["names"]), "a stream is kept once"
        found |= {stream: columns["ledger"][:, i].tolist() for i, stream in enumerate(about["names"])}
    topic.close()
    return found


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return k.said(folder / f"{name}.log")


def begun(servers: str, folder: Path, **given: int) -> tuple[Group, subprocess.Popen[str]]:
    """A group none of whose processes is started yet, and the plant that it reads; ``given``: see plant.py."""
    suffix = uuid.uuid4().hex[:8]
    k.make_topics(servers, suffix, f"many-{suffix}")
    k.make_topics(servers, "x" + suffix, f"undisturbed-{suffix}")
    plug = kill.plug_topic(servers, suffix)
    plant, _faults = k.start_plant(
        {
            "servers": servers, "suffix": suffix, "start": k.now_ns() + 5_000_000_000, "tail": TAIL_S,
            "names": ["spike", "level_shift", "noise_burst"], "plug": "no reading", "gap": 60, **given,
        }
    )  # fmt: skip
    return Group(folder, servers, suffix, f"many-{suffix}", plug), plant


def check_as_undisturbed(group: Group, plant: subprocess.Popen[str], folder: Path, faults: int) -> None:
    """Once all is read: the group has told and counted what one undisturbed process does of the same readings."""
    servers, suffix, many, plug = group.given
    calm = f"undisturbed-{suffix}"
    assert plant.wait(180) == 0
    wait_until_read(servers, many, suffix)
    time.sleep(2)
    for name in list(group.running):
        group.stop(name)
    heed = k.start_heed(kill.config(folder, servers, suffix, calm, plug), folder / f"{calm}.log")
    k.wait_until_read(heed, folder / calm, kill.readings_on(servers, suffix))
    assert k.stop(heed) == 0

    told, wanted = (kill.seen(k.alerts_on(servers, name, "read_committed")) for name in (many, calm))
    assert set(told) == set(wanted)
    assert max(told.values()) == 1, "nothing is told twice"
    assert len(wanted) > faults
    assert ledger(servers, many, suffix) == k.ledger(folder / calm)


def test_processes_that_come_and_go_tell_what_one_undisturbed_process_tells(kafka: str, tmp_path: Path) -> None:
    group, plant = begun(kafka, tmp_path, streams=STREAMS, seed=11, history=HISTORY, seconds=SECONDS, faults=FAULTS)
    group.start("a")
    time.sleep(12)
    group.start("b")  # one is added
    time.sleep(10)
    group.kill("a")  # one is killed, and comes back
    time.sleep(8)
    group.start("a")
    time.sleep(8)
    group.start("c")
    time.sleep(6)
    for name in ("a", "b"):  # all are rolled
        group.stop(name)
        group.start(name)
        time.sleep(4)
    group.pause("c")  # one is away for longer than the session, and comes back
    time.sleep(10)
    group.go_on("c")
    check_as_undisturbed(group, plant, tmp_path, FAULTS)
    for name in "abc":
        adopted = [each for each in events(tmp_path, name) if each["event"] == "state.adopted"]
        assert any(each["positions"] for each in adopted), f"{name} took something over"
