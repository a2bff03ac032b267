"""`heed demo` in a process of its own: alerts as lines, a summary with faults, overload, and a clean stop."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command import heed, lines_of, start

from stream.ledger import OUTCOMES

FAULTS = {"injected", "found", "missed", "false_alerts", "delay_p50"}


def conserves(summary: dict[str, Any]) -> None:
    assert summary["windows"]["due"] == sum(summary["windows"][outcome] for outcome in OUTCOMES)


@pytest.mark.slow
def test_a_short_demo_finds_faults_and_says_so_in_json_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    done = heed("demo", "--duration", "12s", "--no-web", "-o", "json", "--summary", file, "--set", "budget.latency=60s")
    summary = json.loads(file.read_text())
    alerts = lines_of(done.stdout)
    assert all({"fingerprint", "status", "streams", "labels"} <= alert.keys() for alert in alerts)
    assert len([alert for alert in alerts if alert["status"] == "firing"]) == summary["alerts"]
    assert summary["faults"].keys() >= FAULTS
    assert summary["faults"]["injected"] >= 1
    assert summary["faults"]["found"] >= 1
    assert json.loads(done.stderr.splitlines()[-1]) == summary
    windows = summary["windows"]
    assert windows["warmup"] == windows["sentinel"] == 0
    assert windows["shed"] == 0
    assert summary["streams"] == 300
    conserves(summary)


@pytest.mark.slow
def test_under_eight_times_the_load_it_sheds_and_keeps_account(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    done = heed("demo", "--duration", "8s", "--no-web", "--load", "8", "-o", "json", "--summary", file)
    summary = json.loads(file.read_text())
    lines_of(done.stdout)
    conserves(summary)
    assert summary["windows"]["shed"] > summary["windows"]["full"] > 0
    assert 0 < summary["coverage"] < 0.35
    assert "Demand is 8 times what fits" in done.stderr


@pytest.mark.parametrize("after", [0.5, 4.0])
def test_control_c_stops_it_cleanly_while_it_learns_and_while_it_is_live(tmp_path: Path, after: float) -> None:
    file = tmp_path / "s.json"
    more = ("--no-web", "--streams", "40", "--log-level", "info", "--summary", file)
    demo = start("demo", *more, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert demo.stderr is not None
    while "model.loaded" not in (line := demo.stderr.readline()):
        assert line, "it ended before it began"
    time.sleep(after)
    demo.send_signal(signal.SIGINT)
    _, said = demo.communicate(timeout=120)
    assert demo.returncode == 0, said
    assert "Traceback" not in said
    conserves(json.loads(file.read_text()))


def test_it_runs_without_a_model_and_with_few_streams(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    heed("demo", "--duration", "3s", "--no-web", "--streams", "12", "--set", "model.name=none", "--summary", file)
    summary = json.loads(file.read_text())
    assert summary["windows"]["full"] == 0
    assert summary["windows"]["sentinel"] > 0
    conserves(summary)


def test_a_port_that_is_taken_is_said_so() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = heed("demo", "--duration", "1s", "--port", str(taken.getsockname()[1]), code=69)
    assert "can't listen on" in done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_stops_reading_ends_it_without_a_traceback() -> None:
    demo = start("demo", "--duration", "8s", "--no-web", "-o", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert demo.stdout is not None
    demo.stdout.close()
    assert demo.stderr is not None
    said = demo.stderr.read()
    assert demo.wait(60) == 0
    assert "Traceback" not in said
    assert "Exception" not in said
