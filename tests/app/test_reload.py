"""Rules that change while `heed run` goes on: asked for by a signal, found in the files, or asked for over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import lines_of, start

PATIENCE_S = 40.0
T0 = 1_767_225_600_000  # ms
GOOD = """
groups:
  - name: g
    rules:
      - {alert: High, expr: value > 300, labels: {severity: page}}
      - {alert: Higher, expr: value > 400, labels: {severity: page}}
      - {alert: Low, expr: value < 10, for: 1h, labels: {severity: page}}
"""


class Run:
    """A daemon that reads from a pipe, and its rules."""

    def __init__(self, folder: Path, *options: str, **more: Any) -> None:
        self.rules, self.alerts, self.log = folder / "r.yaml", folder / "alerts.jsonl", folder / "heed.log"
        self.config = folder / "heed.yaml"
        self.rules.write_text(GOOD)
        self.tree = {
            "sources": [{"type": "stdin"}],
            "sinks": [{"type": "jsonl", "path": str(self.alerts)}],
            "state": {"path": str(folder / "state"), "commit": "100ms"},
            "server": {"listen": "none"},
            "logging": {"format": "json"},
            "windows": {"lateness": "0s"},
            "model": {"name": "none"},
            "rule_files": ["r*.yaml"],
            "reload": {"poll": "0s"},
            **more,
        }
        self.configure()
        self._file = self.log.open("w")
        how = {"stdin": subprocess.PIPE, "stdout": self._file, "stderr": self._file}
        self.process = start("run", "-c", self.config, *options, **how)
        self.second = 0

    def configure(self, **more: Any) -> None:
        self.tree |= more
        self.config.write_text(json.dumps(self.tree))

    def feed(self, seconds: int, **values: float) -> None:
        """So many seconds of readings."""
        assert self.process.stdin is not None
        for _ in range(seconds):
            for name, value in values.items():
                row = {"stream": f"p/{name}", "ts": T0 + 1000 * self.second, "value": value}
                self.process.stdin.write(json.dumps(row) + "\n")
            self.second += 1
        self.process.stdin.flush()

    def said(self, name: str) -> list[dict[str, Any]]:
        whole = self.log.read_text().rpartition("\n")[0]
        return [line for line in lines_of(whole) if line.get("event") == name]

    def until(self, true: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := true():
                return found
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.02)
        raise AssertionError(f"not within {PATIENCE_S} s:\n{self.log.read_text()[-3000:]}")

    def told(self) -> list[tuple[str, str, str, str]]:
        """Alert messages, those for the end of the input apart: rule, stream, status, reason."""
        text = self.alerts.read_text() if self.alerts.exists() else ""
        rows = lines_of(text.rpartition("\n")[0])
        told = [(row["rule"], row["labels"]["stream"], row["status"], row["reason"]) for row in rows]
        return [each for each in told if each[3] != "the stream ended"]

    def hang_up(self, name: str) -> dict[str, Any]:
        """SIGHUP, and what the log says to it."""
        before = len(self.said(name))
        self.process.send_signal(signal.SIGHUP)
        return self.until(lambda: self.said(name)[before:])[0]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()[-3000:]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start_one(*options: str, **more: Any) -> Run:
        runs.append(Run(tmp_path, *options, **more))
        runs[-1].until(lambda: runs[-1].said("daemon.started"))
        return runs[-1]

    yield start_one
    for run in runs:
        run.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_changed_rule_is_taken_in_on_sighup_and_touches_no_other(begin: Callable[..., Run]) -> None:
    run = begin()
    run.feed(5, a=500, b=350, c=100)
    run.until(lambda: len(run.told()) == 3)
    run.rules.write_text(GOOD.replace("value > 400", "value > 450").replace("Low,", "Lower,"))
    said = run.hang_up("config.reloaded")
    assert (said["added"], said["changed"], said["removed"], said["unchanged"]) == (
        ['Lower{severity="page"}'], ['Higher{severity="page"}'], ['Low{severity="page"}'], 1
    )  # fmt: skip
    run.until(lambda: len(run.told()) == 4)
    assert run.told()[3] == ("Higher", "p/a", "resolved", "rule_changed")
    run.feed(5, a=500, b=350, c=100)
    run.until(lambda: len(run.told()) == 5)
    run.feed(5, a=460, b=20, c=20)
    run.end()
    assert run.told()[4:] == [("Higher", "p/a", "firing", "expr_true"), ("High", "p/b", "resolved", "expr_false")]


def test_what_is_wrong_is_refused_whole_and_the_old_rules_go_on(begin: Callable[..., Run]) -> None:
    port = free_port()
    run = begin(server={"listen": f"127.0.0.1:{port}"})
    run.feed(5, a=350)
    run.until(lambda: len(run.told()) == 1)
    before = metric(port, "heed_config_last_reload_success_timestamp_seconds")
    assert metric(port, "heed_config_last_reload_successful") == 1
    run.rules.write_text(GOOD.replace("value > 400", "valeu > 400").replace("value < 10", "value < 20"))
    said = run.hang_up("config.rejected")
    assert "did you mean `value`?" in said["problem"]
    assert said["goes_on_with"] == 3
    run.until(lambda: metric(port, "heed_config_last_reload_successful") == 0)
    assert metric(port, "heed_config_last_reload_success_timestamp_seconds") == before
    run.feed(5, a=100)
    run.until(lambda: run.told()[1:] == [("High", "p/a", "resolved", "expr_false")])
    run.rules.write_text(GOOD)
    run.hang_up("config.unchanged")
    run.until(lambda: metric(port, "heed_config_last_reload_successful") == 1)
    assert metric(port, "heed_config_last_reload_success_timestamp_seconds") > before
    run.config.write_text("{")
    run.hang_up("config.rejected")
    run.end()


def metric(port: int, name: str) -> float:
    lines = ask(port, "/metrics")[1].splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


def put(path: Path, text: str) -> None:
    """At once: nobody finds half of it."""
    made = path.with_name("new")
    made.write_text(text)
    made.replace(path)


def test_a_changed_file_is_found_by_its_content(begin: Callable[..., Run]) -> None:
    run = begin(reload={"poll": "100ms"})
    os.utime(run.rules)  # another time, the same content
    time.sleep(0.8)
    assert run.said("config.unchanged") == run.said("config.reloaded") == []
    put(run.rules, GOOD.replace("300", "200"))
    assert run.until(lambda: run.said("config.reloaded"))[0]["changed"] == ['High{severity="page"}']
    put(run.rules.parent / "r2.yaml", "groups: [{name: h, rules: [{alert: New, expr: value > 1}]}]")
    assert run.until(lambda: run.said("config.reloaded")[1:])[0]["added"] == ["New"]
    (run.rules.parent / "r2.yaml").unlink()
    assert run.until(lambda: run.said("config.reloaded")[2:])[0]["removed"] == ["New"]
    put(run.rules, "groups: 3")
    run.until(lambda: run.said("config.rejected"))
    time.sleep(0.5)
    assert len(run.said("config.rejected")) == 1, "the same mistake is told once"
    run.end()


def test_keys_that_need_a_restart_are_named_and_the_others_taken_in(begin: Callable[..., Run]) -> None:
    run = begin()
    run.rules.write_text(GOOD.replace("300", "200"))
    run.configure(windows={"lateness": "5s"}, budget={"latency": "100ms"}, logging={"format": "json", "level": "error"})
    assert run.hang_up("config.restart_needed")["keys"] == ["windows", "budget"]
    run.until(lambda: run.said("config.restart_needed"))
    run.feed(5, a=250)
    run.until(lambda: run.told() == [("High", "p/a", "firing", "expr_true")])
    run.end()
    assert run.said("daemon.stopped") == [], "the level of the log was taken in"


def test_a_reload_over_http_needs_the_flag_and_says_what_came_of_it(begin: Callable[..., Run]) -> None:
    port = free_port()
    run = begin("--enable-reload", server={"listen": f"127.0.0.1:{port}"})
    assert ask(port, "/-/reload")[0] == 405
    assert ask(port, "/-/reload", "POST", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert ask(port, "/-/reload", "POST") == (200, "no rule changed\n")
    run.rules.write_text(GOOD.replace("300", "200"))
    assert ask(port, "/-/reload", "POST") == (200, 'changed: High{severity="page"}\n')
    groups = json.loads(ask(port, "/api/v1/rules")[1])["data"]["groups"]
    run.until(lambda: "value > 200" in ask(port, "/api/v1/rules")[1])
    assert [rule["name"] for rule in groups[0]["rules"]] == ["High", "Higher", "Low"]
    run.rules.write_text("groups: 3")
    code, said = ask(port, "/-/reload", "POST")
    assert code == 500
    assert "r.yaml:1:9" in said
    run.end()


def test_without_the_flag_nobody_reloads_over_http(begin: Callable[..., Run]) -> None:
    port = free_port()
    run = begin(server={"listen": f"127.0.0.1:{port}"})
    code, said = ask(port, "/-/reload", "POST")
    assert (code, "--enable-reload" in said) == (403, True)
    assert run.said("config.unchanged") == []
    run.end()


def test_alerts_of_unchanged_rules_keep_their_beginning_over_a_reload_and_a_restart(
    begin: Callable[..., Run],
) -> None:
    run = begin()
    run.feed(5, a=350)
    run.until(lambda: len(run.told()) == 1)
    run.rules.write_text(GOOD.replace("value > 400", "value > 401"))
    run.hang_up("config.reloaded")
    run.process.kill()
    run.process.wait()
    first = json.loads(run.alerts.read_text().splitlines()[0])
    again = start("run", "-c", run.config, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = [{"stream": "p/a", "ts": T0 + 1000 * (5 + i), "value": 350 if i < 5 else 1} for i in range(10)]
    again.communicate("".join(json.dumps(row) + "\n" for row in rows), timeout=PATIENCE_S)
    last = json.loads(run.alerts.read_text().splitlines()[-1])
    assert (last["status"], last["rule"], last["id"]) == ("resolved", "High", first["id"])
