"""A fault in a stream, the daemon, a real Alertmanager that is away at first, and whoever that tells: the whole way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import AlertmanagerProcess, WebServer, eventually

PATIENCE_S = 60.0
HISTORY_S = 400  # of quiet readings before it begins


class Plant:
    """Four presses that write a reading a second to a file; the second one can be made to go wrong."""

    def __init__(self, path: Path) -> None:
        self._path, self._chance, self.wrong = path, np.random.default_rng(1), False
        self._stop = threading.Event()
        self._write(range(int(time.time()) - HISTORY_S, int(time.time())))
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def _write(self, seconds: range) -> None:
        rows = [
            {"stream": f"press{m}/temp", "ts": 1000 * second, "value": self._value(m)}
            for second in seconds
            for m in range(4)
        ]
        with self._path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def _value(self, machine: int) -> float:
        return round(float(self._chance.normal(100, 1)) + 60 * (self.wrong and machine == 1), 3)

    def _go_on(self) -> None:
        at = int(time.time())
        while not self._stop.wait(0.1):
            now = int(time.time())
            self._write(range(at, now))
            at = max(at, now)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path / "readings.jsonl")
    yield made
    made.stop()


@pytest.fixture
def hook() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def alertmanager(tmp_path: Path, hook: WebServer) -> Iterator[AlertmanagerProcess]:
    server = AlertmanagerProcess(tmp_path / "alertmanager", hook.url)
    yield server
    server.stop()


@pytest.fixture
def heed(tmp_path: Path, plant: Plant, alertmanager: AlertmanagerProcess) -> Iterator[subprocess.Popen[bytes]]:
    tree = {
        "sources": [{"type": "file", "path": str(tmp_path / "readings.jsonl")}],
        "windows": {"lateness": "1s"},
        "model": {"name": "none"},
        "sinks": [{"type": "jsonl", "path": str(tmp_path / "alerts.jsonl")}],
        "receivers": [{"name": "am", "alertmanager": {"url": [alertmanager.url]}}],
        "state": {"path": str(tmp_path / "state")},
        "server": {"listen": "none"},
    }
    (tmp_path / "heed.yaml").write_text(json.dumps(tree))
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(tmp_path / "heed.yaml")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    yield process
    process.terminate()
    assert process.wait(30) == 0, (tmp_path / "log").read_text()[-2000:]


def about_press1(hook: WebServer, status: str) -> list[Any]:
    return [
        each
        for each in hook.told
        if each["status"] == status and each["groupLabels"] == {"alertname": "StreamAnomaly", "group": "press1"}
    ]


def alerts(folder: Path) -> list[str]:
    path = folder / "alerts.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_a_fault_is_told_by_an_alertmanager_that_was_away_and_so_is_its_end(
    heed: subprocess.Popen[bytes], plant: Plant, alertmanager: AlertmanagerProcess, hook: WebServer, tmp_path: Path
) -> None:
    time.sleep(3)
    plant.wrong = True
    assert eventually(lambda: any("StreamAnomaly" in line for line in alerts(tmp_path)), PATIENCE_S)
    alertmanager.start()
    assert eventually(lambda: about_press1(hook, "firing"), PATIENCE_S)
    alert = about_press1(hook, "firing")[0]["alerts"][0]
    assert alert["labels"]["stream"] == "press1/temp"
    assert alert["annotations"]["summary"]
    plant.wrong = False
    assert eventually(lambda: about_press1(hook, "resolved"), PATIENCE_S)
