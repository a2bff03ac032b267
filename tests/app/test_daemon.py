"""`heed run` in a process of its own: what it reads, what it survives, how it ends and how it begins again."""

from __future__ import annotations

import json
import resource
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
from command import heed, lines_of, start

PATIENCE_S = 40.0
T0 = 1_767_225_600_000  # ms
STATUS = {"readings", "streams", "groups", "windows", "late", "coverage", "lag", "budget", "state", "ready", "now"}


def reading(stream: str, second: int, value: float) -> str:
    return json.dumps({"stream": stream, "ts": T0 + 1000 * second, "value": value}) + "\n"


def config(folder: Path, **more: Any) -> Path:
    """A configuration that keeps its state, its alerts and its address to itself."""
    tree = {
        "sources": [{"type": "synthetic", "streams": 20, "seed": 1, "step": "250ms"}],
        "sinks": [{"type": "jsonl", "path": str(folder / "alerts.jsonl")}],
        "state": {"path": str(folder / "state"), "commit": "250ms"},
        "server": {"listen": "none"},
        "logging": {"format": "json"},
        **more,
    }
    path = folder / "heed.yaml"
    path.write_text(json.dumps(tree))
    return path


class Daemon:
    """A running daemon and its log."""

    def __init__(self, folder: Path, *arguments: str | Path, **how: Any) -> None:
        self.log = folder / "heed.log"
        self._file = self.log.open("a")
        self.process = start("run", *arguments, stdout=self._file, stderr=self._file, **how)

    def said(self, name: str) -> list[dict[str, Any]]:
        """Log lines of this name so far; every line is JSON."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [line for line in lines_of(whole) if line.get("event") == name]

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait for something to be so."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := true():
                return found
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE_S} s:\n{self.log.read_text()[-3000:]}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it in order; its exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, when it is over."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    made: list[Daemon] = []

    def make(*arguments: str | Path, **how: Any) -> Daemon:
        made.append(Daemon(tmp_path, *arguments, **how))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


# -- standard input and files


def test_a_pipe_is_read_to_its_end_without_any_configuration_and_garbage_is_counted(tmp_path: Path) -> None:
    text = "".join(reading("p/a", i, 100 + i % 3) + ("garbage\n" if i % 50 == 0 else "") for i in range(150))
    done = heed("run", "--no-web", input=text, cwd=tmp_path)
    last = lines_of(done.stderr)[-1]
    assert last["event"] == "daemon.stopped"
    assert last["readings"] == 150
    assert last["undecodable"] == 3
    assert last["windows"]["due"] == 150
    assert [line for line in lines_of(done.stderr) if line["event"] == "reading.undecodable"]
    assert list(tmp_path.iterdir()) == [], "a pipe leaves no state behind"


def test_a_growing_file_is_followed_through_rotation_garbage_and_restart(
    tmp_path: Path, begin: Callable[..., Daemon]
) -> None:
    file, port = tmp_path / "readings.jsonl", free_port()
    source = {"type": "file", "path": str(file)}
    path = config(tmp_path, sources=[source], server={"listen": f"127.0.0.1:{port}"})
    daemon = begin("-c", path)

    def readings() -> int:
        code, text = get(port, "/api/v1/status")
        return int(json.loads(text)["readings"]) if code == 200 else -1

    daemon.until(lambda: readings() == 0)
    file.write_text("".join(reading("p/a", i, i % 5) for i in range(100)))
    daemon.until(lambda: readings() == 100)
    with file.open("a") as more:
        more.write('{"stream": "p/a", "ts"\n[1,2]\nnull\n' + reading("p/a", 100, 1))
    daemon.until(lambda: readings() == 101)
    file.rename(tmp_path / "readings.jsonl.1")
    file.write_text("".join(reading("p/a", 101 + i, i % 5) for i in range(49)))
    daemon.until(lambda: readings() == 150)
    letters = [
        line for line in get(port, "/metrics")[1].splitlines() if line.startswith("heed_dead_letter_records_total{")
    ]
    assert sum(float(line.split()[-1]) for line in letters) == 3
    assert daemon.stop() == 0
    assert daemon.said("daemon.stopped")[-1]["undecodable"] == 3

    with file.open("a") as more:
        more.write("".join(reading("p/a", 150 + i, i % 5) for i in range(30)))
    again = begin("-c", path)
    again.until(lambda: readings() == 180)
    assert again.said("state.restored")[-1]["streams"] == 1
    status = json.loads(get(port, "/api/v1/status")[1])
    assert status["streams"] == 1
    assert again.stop() == 0
    last = again.said("daemon.stopped")[-1]["windows"]
    assert 175 <= last["due"] - last["gap"] <= 180, "none is judged twice"


# -- signals and state


def test_an_ordered_stop_commits_and_the_next_start_goes_on_from_there(
    tmp_path: Path, begin: Callable[..., Daemon]
) -> None:
    path = config(tmp_path)
    first = begin("-c", path)
    first.until(lambda: first.said("daemon.started"))
    time.sleep(1.0)
    first.process.send_signal(signal.SIGHUP)
    first.until(lambda: first.said("config.unchanged"))
    assert first.stop() == 0
    names = [line["event"] for line in lines_of(first.log.read_text())]
    assert names[-1] == "daemon.stopped"
    assert "daemon.draining" in names
    due = first.said("daemon.stopped")[-1]["windows"]["due"]
    second = begin("-c", path)
    restored = second.until(lambda: second.said("state.restored"))[-1]
    assert restored["streams"] == 20
    assert restored["positions"]["synthetic/0"] > 0
    time.sleep(0.5)
    assert second.stop(signal.SIGINT) == 0
    last = second.said("daemon.stopped")[-1]
    assert last["windows"]["due"] >= due
    assert last["windows"]["due"] == sum(n for name, n in last["windows"].items() if name != "due")
    assert last["streams"] == 20


def test_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path, begin: Callable[..., Daemon]) -> None:
    path = config(tmp_path)
    first = begin("-c", path)
    first.until(lambda: first.said("daemon.started"))
    done = heed("run", "-c", path, code=74)
    assert "another heed is using this state folder" in done.stderr
    assert first.stop() == 0


def test_a_damaged_checkpoint_is_said_so(tmp_path: Path, begin: Callable[..., Daemon]) -> None:
    path = config(tmp_path)
    first = begin("-c", path)
    first.until(lambda: first.said("daemon.started"))
    time.sleep(0.6)
    assert first.stop() == 0
    (tmp_path / "state" / "checkpoint.npz").write_bytes(b"nonsense")
    assert "damaged checkpoint" in heed("run", "-c", path, code=74).stderr


# -- what it refuses to start with


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ({"windows": {"sise": 3}}, 78, 'did you mean "size"'),
        ({"model": {"path": "nowhere.onnx"}}, 78, "there is no such model"),
        ({"rule_files": ["nowhere.yaml"]}, 78, "nowhere.yaml"),
        ({"sources": [{"type": "recording", "path": ["nowhere.parquet"]}]}, 69, "no such file"),
        ({"state": {"path": "/proc/nowhere"}}, 74, "/proc/nowhere"),
    ],
)
def test_it_does_not_start_with_what_can_not_work(tmp_path: Path, more: dict[str, Any], code: int, said: str) -> None:
    done = heed("run", "-c", config(tmp_path, **more), code=code, cwd=tmp_path)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_the_configuration_is_told_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "heed.yaml"
    path.write_text("sources:\n  - type: stdin\nwindows:\n  size: many\n")
    assert f"{path}:4:9" in heed("run", "-c", path, code=78).stderr


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = heed("run", "-c", config(tmp_path, server={"listen": f"127.0.0.1:{port}"}), code=69)
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr


# -- while it runs


def test_the_page_the_metrics_and_the_interface_are_served_while_it_runs(
    tmp_path: Path, begin: Callable[..., Daemon]
) -> None:
    port = free_port()
    daemon = begin("-c", config(tmp_path, server={"listen": f"127.0.0.1:{port}"}))
    daemon.until(lambda: get(port, "/-/ready")[0] == 200)
    daemon.until(lambda: json.loads(get(port, "/api/v1/status")[1])["windows"]["due"] > 0)
    status = json.loads(get(port, "/api/v1/status")[1])
    assert status.keys() >= STATUS
    assert status["streams"] == 20
    assert "<html" in get(port, "/")[1]
    assert get(port, "/-/healthy") == (200, "healthy\n")
    metrics = get(port, "/metrics")[1]
    for line in ('heed_windows_total{outcome="warmup"}', "heed_lag_seconds_bucket", 'heed_streams{state="warmup"} 20.0',
                 "heed_source_records_total"):  # fmt: skip
        assert line in metrics
    streams = json.loads(get(port, "/api/v1/streams?limit=5")[1])["data"]
    assert (len(streams["streams"]), streams["total"]) == (5, 20)
    assert daemon.stop() == 0


def feed_with_faults(source: Any, seconds: int = 200) -> None:
    """Streams of which all go astray after a while."""
    for i in range(seconds):
        for name in "abcdef":
            source.write(reading(f"p/{name}", i, 100 + (i * 7 + ord(name)) % 11 + (500 if i > 150 else 0)))
    source.flush()


def test_a_full_disk_for_alerts_does_not_stop_it(tmp_path: Path, begin: Callable[..., Daemon]) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 300}]}]\n")
    path = config(
        tmp_path,
        sources=[{"type": "stdin"}],
        sinks=[{"type": "jsonl", "path": "/dev/full"}],
        rule_files=[str(rules)],
        model={"name": "none"},
    )
    daemon = begin("-c", path, stdin=subprocess.PIPE)
    feed_with_faults(daemon.process.stdin)
    daemon.until(lambda: daemon.said("sink.failed"))
    assert daemon.process.poll() is None
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert daemon.said("daemon.stopped")[-1]["readings"] == 1200


def test_a_state_that_can_not_be_written_does_not_stop_it_and_no_alert_is_lost(
    tmp_path: Path, begin: Callable[..., Daemon]
) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (180_000, 180_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    rules = tmp_path / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 300}]}]\n")
    path = config(tmp_path, sources=[{"type": "stdin"}], rule_files=[str(rules)], model={"name": "none"})
    daemon = begin("-c", path, stdin=subprocess.PIPE, preexec_fn=little_room)
    feed_with_faults(daemon.process.stdin)
    daemon.until(lambda: daemon.said("alert.firing"))
    daemon.process.stdin.close()  # type: ignore[union-attr]
    assert daemon.ended() == 0
    assert daemon.said("daemon.stopped")[-1]["readings"] == 1200
    assert daemon.said("state.failed"), "a checkpoint has no room"


def test_a_recording_of_a_daemon_replays(tmp_path: Path, begin: Callable[..., Daemon]) -> None:
    recording = tmp_path / "rec.parquet"
    daemon = begin("-c", config(tmp_path), "--record", recording)
    daemon.until(lambda: daemon.said("daemon.started"))
    time.sleep(1.5)
    assert daemon.stop() == 0
    last = daemon.said("daemon.stopped")[-1]
    heed("replay", recording, "--summary", tmp_path / "s.json")
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["readings"] == last["readings"]
    assert summary["windows"] == last["windows"]
    assert recording.stat().st_size > 1000
