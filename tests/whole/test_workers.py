"""Several processes in one Kafka group on one host: one dies, all stop in order, one /metrics for all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from conftest import all_on, wait_for
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from listening import WebServer

from connectors.clock import WallClock
from stream.app.workers import Supervisor, Worker
from stream.ledger import SENTINEL, WARMUP
from whole.kafka_run import ENV, alerts_on, ledger

STREAMS, STEPS = 24, 160
Topic = Callable[..., str]


def written(
    servers: str,
    topic: str,
    first: int,
    last: int,
    start: int,
    more: float = 0,
    partition: Callable[[int], int] = lambda stream: stream % 4,
) -> None:
    """Steps ``first`` to ``last`` of 1 s of all streams, ``more`` than usual; a group's streams share a partition."""
    producer = KafkaProducer(bootstrap_servers=servers)
    for step in range(first, last):
        for stream in range(STREAMS):
            group = f"m{stream % 4}"
            message = {
                "stream": f"{group}/s{stream:02d}",
                "group": group,
                "ts": start + step,
                "value": 20 + (step * 7 + stream) % 5 + more,
            }
            producer.send(topic, json.dumps(message).encode(), partition=partition(stream))
    producer.flush()
    producer.close()


@contextmanager
def workers(
    folder: Path, servers: str, topic: str, port: int, *options: str, **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    config = {
        "sources": [
            {
                "type": "kafka",
                "topics": [topic],
                "time_unit": "s",
                "client": {
                    "bootstrap.servers": servers,
                    "group.id": topic,
                    "auto.offset.reset": "earliest",
                    "session.timeout.ms": "30000",  # longer than a restart takes on a busy machine
                },
            }
        ],
        "model": {"name": "none"},
        "streams": [{"match": "*", "step": "1s"}],
        "sinks": [{"type": "kafka", "topic": f"{topic}.alerts"}],
        "state": {"path": str(folder / "state"), "commit": "250ms", **more.pop("state", {})},
        "server": {"listen": f"127.0.0.1:{port}"},
        **more,
    }
    (folder / "heed.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(folder / "heed.yaml"), "--workers", "2", *options]
    with (folder / "log").open("ab") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out, env=ENV)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and text of what is answered to a request that changes something."""
    written = None if body is None else json.dumps(body).encode()
    head = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", written, head, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def silence(port: int, matcher: str) -> str:
    """The id of a new one."""
    body = {"matchers": [matcher], "duration": "1h", "createdBy": "ann", "comment": "a test"}
    code, said = ask(port, "POST", "api/v1/silences", body)
    assert code == 200, said
    return str(json.loads(said)["data"]["id"])


def rule(port: int) -> dict[str, Any]:
    """The only one there is."""
    ((found,),) = [group["rules"] for group in json.loads(get(port, "api/v1/rules"))["data"]["groups"]]
    return dict(found)


def status(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(port, "api/v1/status"))
    return found


def not_ready(port: int) -> str:
    """Why it is not; nothing where it is."""
    try:
        get(port, "-/ready")
    except urllib.error.HTTPError as error:
        return error.read().decode()
    return ""


def dealt(port: int, worker: int) -> int:
    """How many partitions a worker reads."""
    lines = get(port, "metrics").splitlines()
    return sum(line.startswith("heed_kafka_consumer_lag") and f'worker="{worker}"' in line for line in lines)


def until(true: Callable[[], bool], patience_s: float = 180) -> None:
    """Until it is so; it is not while somebody does not answer, or has nothing to tell of a worker."""

    def so() -> bool:
        try:
            return true()
        except (OSError, HTTPException, LookupError, TypeError, ValueError):
            return False

    wait_for(so, patience_s)


def pid_of(folder: Path, number: int) -> int:
    """The process that holds a worker's state folder."""
    mark = f"state.path={folder / 'state' / f'worker-{number}'}"
    for entry in Path("/proc").iterdir():
        try:
            said = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:  # it has ended meanwhile
            continue
        if mark in said.decode(errors="replace").split("\0"):
            return int(entry.name)
    raise AssertionError(f"no process of worker {number}")


@pytest.mark.slow
def test_workers_share_the_partitions_come_back_when_killed_and_stop_in_order(
    tmp_path: Path, kafka: str, topic: Topic
) -> None:
    name, port = topic(4), 18431 + os.getpid() % 1000
    start = int(time.time()) - 4 * STEPS
    with workers(tmp_path, kafka, name, port, state={"shared": False}) as process:  # shared: test_takeover.py
        until(lambda: [dealt(port, worker) for worker in (0, 1)] == [2, 2])
        written(kafka, name, 0, STEPS, start)
        until(lambda: status(port)["streams"] == STREAMS and status(port)["ready"])
        until(lambda: [row["status"]["streams"] for row in status(port)["workers"]] == [STREAMS // 2] * 2)
        metrics = get(port, "metrics")
        assert 'heed_worker_up{worker="0"} 1.0' in metrics
        assert 'heed_worker_up{worker="1"} 1.0' in metrics
        assert metrics.count("# TYPE heed_windows_total counter") == 1
        until(lambda: any(map(re.compile(r'heed_streams\{.*worker="1"').match, get(port, "metrics").splitlines())))

        os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
        until(lambda: not status(port)["ready"] and "worker 1" in not_ready(port))
        until(lambda: status(port)["ready"] and status(port)["workers"][1]["restarts"] == 1)
        assert 'heed_worker_restarts_total{worker="1"} 1.0' in get(port, "metrics")

        written(kafka, name, STEPS, 2 * STEPS, start)
        due = STREAMS * (2 * STEPS - 5)
        until(lambda: status(port)["windows"]["due"] >= due)  # time has passed meanwhile: some are gaps
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    counts = [count for n in (0, 1) for count in ledger(tmp_path / "state" / f"worker-{n}").values()]
    assert len(counts) == STREAMS
    assert all(count[WARMUP] <= 99 and count[SENTINEL] > 0 for count in counts), "in warm-up once, whoever died"
    assert alerts_on(kafka, f"{name}.alerts") == []


def once_on(servers: str, topic: str) -> Counter[tuple[str, str]]:
    """What somebody who reads committed records sees of each stream."""
    said = [json.loads(record.value) for record in all_on(servers, topic, "read_committed")]
    return Counter((each["labels"]["stream"], each["status"]) for each in said)


@pytest.mark.slow
def test_each_alert_stands_once_though_a_worker_is_killed_while_it_fires(
    tmp_path: Path, kafka: str, topic: Topic
) -> None:
    """As `--workers` comes: state is shared, and alerts are in its transactions."""
    name, port = topic(4), 20431 + os.getpid() % 1000
    rules, start = tmp_path / "rules.yaml", int(time.time()) - 60
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 90}]}]")
    wanted = {(f"m{stream % 4}/s{stream:02d}", how): 1 for stream in range(STREAMS) for how in ("firing", "resolved")}
    with workers(tmp_path, kafka, name, port, rule_files=[str(rules)]) as process:
        until(lambda: [dealt(port, worker) for worker in (0, 1)] == [2, 2])
        written(kafka, name, 0, 10, start)
        written(kafka, name, 10, 15, start, more=100)
        os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
        written(kafka, name, 15, 40, start)
        until(lambda: sum(once_on(kafka, f"{name}.alerts").values()) >= len(wanted))
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert once_on(kafka, f"{name}.alerts") == wanted


@pytest.mark.slow
def test_silences_reloads_and_rules_at_the_shared_address_are_those_of_all_workers(
    tmp_path: Path, kafka: str, topic: Topic
) -> None:
    name, port, hook = topic(4), 19431 + os.getpid() % 1000, WebServer()
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 90}]}]")
    more = {
        "rule_files": [str(rules)],
        "receivers": [{"name": "hook", "webhook": {"url": hook.url}}],
        "route": {"group_by": ["alertname", "stream"], "group_wait": "0s", "group_interval": "1s"},
        "reload": {"poll": "0s"},
    }

    def known() -> list[list[str]]:
        """Ids of the silences that hold, as each worker tells them."""
        ports = [int(row["url"].rstrip("/").rpartition(":")[2]) for row in status(port)["workers"]]
        said = [json.loads(get(own, "api/v1/silences"))["data"]["silences"] for own in ports]
        return [sorted(each["id"] for each in rows if each["status"]["state"] == "active") for rows in said]

    with workers(tmp_path, kafka, name, port, "--enable-reload", **more) as process:
        until(lambda: [dealt(port, worker) for worker in (0, 1)] == [2, 2])
        first = silence(port, "alertname=High")
        assert known() == [[first], [first]]
        written(kafka, name, 0, 5, int(time.time()) - 20, more=100)
        until(lambda: rule(port)["firing"] == STREAMS)
        assert rule(port)["state"] == "firing" and len(rule(port)["alerts"]) == STREAMS
        until(lambda: json.loads(get(port, "api/v1/alerts"))["data"]["suppressed"] == STREAMS)

        os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
        until(lambda: not (row := status(port)["workers"][1])["up"] or row["restarts"] == 1)
        second = silence(port, 'stream=~"m0/.*"')
        until(lambda: status(port)["workers"][1]["restarts"] == 1 and status(port)["ready"])
        until(lambda: known() == [sorted([first, second])] * 2)
        assert hook.told == [], "nobody was told, by whichever worker"

        for key in (second, first):
            assert ask(port, "DELETE", f"api/v1/silences/{key}")[0] == 200
        assert known() == [[], []]
        until(lambda: len({said["groupLabels"]["stream"] for said in hook.told}) == STREAMS)
        assert {said["reason"] for said in hook.told} == {"silence_ended"}

        rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 91}]}]")
        assert ask(port, "POST", "-/reload") == (200, "worker 0: changed: High\nworker 1: changed: High\n")
        until(lambda: rule(port)["query"] == "value > 91")
        rules.write_text("groups: 3")
        code, said = ask(port, "POST", "-/reload")
        assert code == 500 and all(f"worker {worker}: {rules}:1:9" in said for worker in (0, 1)), said
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    hook.close()


@pytest.mark.slow
@pytest.mark.parametrize("sources", [1, 2])
def test_workers_and_sources_that_one_id_is_given_to_are_members_of_their_own(
    tmp_path: Path, kafka: str, topic: Topic, sources: int
) -> None:
    group, topics, port = uuid.uuid4().hex, [topic(4) for _ in range(sources)], 20431 + os.getpid() % 1000
    client = {
        "bootstrap.servers": kafka,
        "group.id": group,
        "group.instance.id": "one",
        "auto.offset.reset": "earliest",
        "heartbeat.interval.ms": "500",
    }
    each = {"type": "kafka", "time_unit": "s", "client": client}
    with workers(tmp_path, kafka, group, port, sources=[{**each, "topics": [name]} for name in topics]) as process:
        until(lambda: [dealt(port, worker) for worker in (0, 1)] == [2 * sources] * 2)
        for name in topics:
            written(kafka, name, 0, 20, int(time.time()) - 30)
        until(lambda: [row["status"]["readings"] for row in status(port)["workers"]] == [STREAMS * 10 * sources] * 2)
        time.sleep(2)  # some heartbeats
        assert [row["restarts"] for row in status(port)["workers"]] == [0, 0]
        assert members(kafka, group) == {
            f"one-{worker}{source}" for worker in (0, 1) for source in ("", "-kafka-2")[:sources]
        }
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def members(servers: str, group: str) -> set[str]:
    """The ids of a group's static members."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return {member["group_instance_id"] for member in admin.describe_groups([group])[group]["members"]}
    finally:
        admin.close()


def test_workers_need_kafka_and_a_configuration(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        command = [sys.executable, "-m", "stream.cli", "run", "--workers", "2", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=ENV, timeout=60, check=False)
        assert done.returncode == 78
        return done.stderr

    assert "a configuration is needed" in refused()
    (tmp_path / "a.yaml").write_text("sources: [{type: stdin}]\n")
    assert "stdin" in refused("-c", str(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text(
        "sources: [{type: kafka, topics: [a], client: {bootstrap.servers: 'localhost:1'}}]\n"
    )
    assert "--record" in refused("-c", str(tmp_path / "b.yaml"), "--record", "x.parquet")


def test_an_ordered_stop_is_one_though_a_worker_had_not_begun_or_was_dead(tmp_path: Path) -> None:
    """Who has no handler yet just ends, and what was dead is not told again."""

    def code(script: str, so: Callable[[Worker], bool]) -> int:
        """Of two workers, one of them without a handler, told to stop once it is so of the other one."""
        scripts = ("import time; time.sleep(600)", script)
        workers = [Worker(n, [sys.executable, "-c", each], 0, tmp_path) for n, each in enumerate(scripts)]
        supervisor = Supervisor(workers, WallClock())
        supervisor.watch = lambda now: setattr(supervisor, "stopping", so(workers[1]))
        return supervisor.run()

    there = tmp_path / "has_a_handler"
    handles = "import pathlib, signal, time; signal.signal(15, lambda *_: exit(9))"
    assert code("raise SystemExit(69)", lambda worker: worker.due > 0) == 0
    assert code(f"{handles}; pathlib.Path({str(there)!r}).touch(); time.sleep(600)", lambda _: there.exists()) == 70
