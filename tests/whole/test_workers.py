"""Several processes in one Kafka group on one host: one dies, all stop in order, one /metrics for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from listening import WebServer

from stream.ledger import SENTINEL, WARMUP
from whole.kafka_run import ENV, alerts_on, ledger

STREAMS, STEPS = 24, 160
Topic = Callable[..., str]


def written(servers: str, topic: str, first: int, last: int, start: int, more: float = 0) -> None:
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
            producer.send(topic, json.dumps(message).encode(), partition=stream % 4)
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
                    "session.timeout.ms": "6000",
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


def dealt(port: int, worker: int) -> int:
    """How many partitions a worker reads."""
    lines = get(port, "metrics").splitlines()
    return sum(line.startswith("heed_kafka_consumer_lag") and f'worker="{worker}"' in line for line in lines)


def until(true: Callable[[], bool], patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            if true():
                return
        except (OSError, urllib.error.HTTPError):
            pass
        time.sleep(0.3)
    raise AssertionError("it did not come to that")


def pid_of(folder: Path, number: int) -> int:
    """The process that holds a worker's state folder."""
    mark = f"state.path={folder / 'state' / f'worker-{number}'}"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes().decode(errors="replace").split("\0"):
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
        each = [row["status"]["streams"] for row in status(port)["workers"]]
        assert sorted(each) == [STREAMS // 2] * 2
        metrics = get(port, "metrics")
        assert 'heed_worker_up{worker="0"} 1.0' in metrics
        assert 'heed_worker_up{worker="1"} 1.0' in metrics
        assert metrics.count("# TYPE heed_windows_total counter") == 1
        assert 'worker="1"' in next(
            line for line in metrics.splitlines() if line.startswith("heed_streams{") and '"1"' in line
        )

        os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
        until(lambda: not status(port)["ready"])
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(port, "-/ready")
        assert "worker 1" in refused.value.read().decode()
        until(lambda: status(port)["ready"] and status(port)["workers"][1]["restarts"] == 1)
        assert 'heed_worker_restarts_total{worker="1"} 1.0' in get(port, "metrics")

        written(kafka, name, STEPS, 2 * STEPS, start)
        due = STREAMS * (2 * STEPS - 5)
        until(lambda: status(port)["windows"]["due"] >= due)  # time has passed meanwhile: some are gaps
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    counts = [count for n in (0, 1) for count in ledger(tmp_path / "state" / f"worker-{n}").values()]
    assert len(counts) == STREAMS
    assert all(count[WARMUP] <= 99 and count[SENTINEL] > 0 for count in counts), "in warm-up once, whoever died"
    assert alerts_on(kafka, f"{name}.alerts") == []


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
        assert process.wait(60) == 0
    hook.close()


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
