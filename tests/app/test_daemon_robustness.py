"""What a user can do to a running heed: it says so in a line and with its exit code, goes on, and counts all."""

from __future__ import annotations

import io
import json
import logging
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog
from command import heed, lines_of, start
from conftest import free_port, hear_this_thread_alone, wait_for
from test_daemon import get

from connectors.batch import SECOND, PartitionTable, StreamTable
from connectors.clock import ReplayClock, WallClock
from connectors.file import BAD_KEPT, FileSource
from connectors.formats.codec import JsonCodec
from connectors.jsonl import JsonlSink
from stream import log


def config(folder: Path, **more: Any) -> Path:
    """Standard input, with the state and the alerts in ``folder``."""
    tree = {
        "sources": [{"type": "stdin", "time_unit": "s"}],
        "sinks": [{"type": "jsonl", "path": str(folder / "alerts.jsonl")}],
        "state": {"path": str(folder / "state")},
        "server": {"listen": "none"},
        "model": {"name": "none"},
        "logging": {"format": "json"},
        **more,
    }
    path = folder / "heed.yaml"
    path.write_text(json.dumps(tree))
    return path


def line(stream: object, ts: object, value: object) -> str:
    return json.dumps({"stream": stream, "ts": ts, "value": value}) + "\n"


def steady(n: int = 20) -> str:
    """A stream that ends now."""
    now = int(time.time())
    return "".join(line("p/a", now - n + i, i % 3) for i in range(n))


# -- what comes in


def test_whatever_comes_in_is_used_or_counted_and_nothing_stops(tmp_path: Path) -> None:
    now = time.time()
    odd_names = ["a\nb/c", "q\"uo'te", "<script>/x", "😀/🎉", "\u0000", "x" * 5000, "", " ", "/", "\ud800", "*", 7]
    odd_times = [now + 3e7, now - 3e7, 1e300, -1e300, 1e400, -5, "now", "", None, True, [1], 10**30, "2024-01-01"]
    odd_values = [1e308, -1e308, "NaN", "Infinity", float("nan"), float("inf"), "", None, True, [1], {}, 10**400]
    texts = [line(name, now, 1) for name in odd_names]
    texts += [line("p/t", ts, 1) for ts in odd_times]
    texts += [line(f"p/v{i % 3}", now, value) for i, value in enumerate(odd_values)]
    texts += ["[1,2]\n", "{}\n", "null\n", "\x00\x01\n", "[" * 100_000 + "\n", "y" * (3 << 20) + "\n", '{"stream":\n']
    text = "".join(texts) + steady()
    done = heed("run", "-c", config(tmp_path, limits={"streams": 10}), input=text, cwd=tmp_path)
    last = lines_of(done.stderr)[-1]
    assert last["event"] == "daemon.stopped"
    assert last["readings"] + last["undecodable"] == len(texts) + 20
    assert last["undecodable"] > 20 and last["future"] >= 1 and last["missing"] >= 1 and last["refused"] >= 1
    assert "Traceback" not in done.stderr


def test_lines_that_are_no_readings_are_counted_by_reason_and_only_some_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.jsonl", ReplayClock(1_700_000_000 * SECOND)
    path.write_text("nonsense\n" * 5000 + "{}\n")
    source = FileSource(path, JsonCodec(None, "s", None, StreamTable()).decode, PartitionTable(), clock, follow=False)
    counts = source.poll(clock.now()).counts
    kinds = {name: n for name, n in counts.items() if name.startswith("undecodable.")}
    assert kinds["undecodable.malformed"] == 5000
    assert sum(kinds.values()) == counts["undecodable"] == 5001
    kept = source.take_bad()
    assert len(kept) == BAD_KEPT and kept[-1].reason != "malformed"


def test_no_label_holds_back_alerts_because_it_can_not_be_written(tmp_path: Path) -> None:
    table = StreamTable()
    codec = JsonCodec({"labels": {"site": "{site}"}}, "s", None, table)
    codec.decode([b'{"stream": "a/b", "ts": 1, "value": 2, "site": "x\\ud800\\u0000y' + b"z" * 9000 + b'"}'])
    (labels,) = table.labels
    assert labels["site"].startswith("x\ufffd\ufffdyz") and len(labels["site"]) == 512
    sink = JsonlSink(tmp_path / "alerts.jsonl")
    sink.send([{"labels": labels}])
    sink.close()


# -- what lies in the state folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which heed ran and left its state."""
    folder = tmp_path_factory.mktemp("kept")
    heed("run", "-c", config(folder), input=steady(), cwd=folder)
    return folder


@pytest.fixture
def again(kept: Path, tmp_path: Path) -> Callable[..., str]:
    """Starts heed on a copy of that state after something was done to it; what it says as it ends with 74."""

    def run(spoil: Callable[[Path], object] = lambda state: None, **more: Any) -> str:
        state = tmp_path / "state"
        state.mkdir()
        for name in ("state.db", "checkpoint.npz"):
            (state / name).write_bytes((kept / "state" / name).read_bytes())
        spoil(state)
        done = heed("run", "-c", config(tmp_path, **more), input=steady(), cwd=tmp_path, code=74)
        assert "Traceback" not in done.stderr
        said = done.stderr.splitlines()[-1]
        assert said.startswith("heed: ")
        return said

    return run


def set_part(name: str, text: str) -> Callable[[Path], object]:
    def spoil(state: Path) -> None:
        with sqlite3.connect(state / "state.db") as db:
            assert db.execute("UPDATE parts SET json = ? WHERE name = ?", (text, name)).rowcount == 1

    return spoil


@pytest.mark.parametrize(("part", "text"), [("alerts", "{"), ("alerts", "5"), ("counters", "null")])
def test_state_that_makes_no_sense_is_told_with_its_folder(again: Callable[..., str], part: str, text: str) -> None:
    said = again(set_part(part, text))
    assert "state: can't be taken up" in said and "remove it" in said


def test_a_damaged_database_is_told_with_what_to_do(again: Callable[..., str]) -> None:
    said = again(lambda state: (state / "state.db").write_bytes(b"no database" * 1000))
    assert "state.db: file is not a database" in said and "remove" in said


def test_a_checkpoint_under_other_settings_is_told_with_its_name(again: Callable[..., str]) -> None:
    said = again(evidence="lean")
    assert "checkpoint.npz" in said and "remove it" in said


# -- where its log can't go


def a_full_disk(folder: Path) -> subprocess.Popen[str]:
    with Path("/dev/full").open("w") as full:
        return start("run", "-c", folder / "heed.yaml", stdin=subprocess.PIPE, stderr=full)


def a_collector_that_goes_away(folder: Path) -> subprocess.Popen[str]:
    daemon = start("run", "-c", folder / "heed.yaml", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert daemon.stderr is not None and "config.loaded" in daemon.stderr.readline()
    daemon.stderr.close()
    return daemon


@pytest.mark.parametrize("begin", [a_full_disk, a_collector_that_goes_away])
def test_a_log_that_can_not_be_written_stops_nothing_and_is_counted(
    tmp_path: Path, begin: Callable[[Path], subprocess.Popen[str]]
) -> None:
    port = free_port()
    config(tmp_path, server={"listen": f"127.0.0.1:{port}"})

    def lost() -> float:
        metrics = get(port, "/metrics")[1]  # nothing before the daemon is up
        return sum(map(float, re.findall(r"^heed_log_lines_lost_total (.+)", metrics, re.MULTILINE)))

    daemon = begin(tmp_path)
    try:
        wait_for(lambda: lost() >= 1, 60)
        daemon.communicate(steady(), timeout=60)
    finally:
        daemon.kill()
    assert daemon.returncode == 0
    with closing(sqlite3.connect(tmp_path / "state" / "state.db")) as db:
        assert db.execute("SELECT sum(next_offset) FROM positions").fetchone()[0] > 0


# -- what can't work, and what libraries say


def test_a_sink_that_is_a_folder_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    path = config(tmp_path, sinks=[{"type": "jsonl", "path": str(tmp_path)}])
    done = heed("run", "-c", path, input="", code=78, cwd=tmp_path)
    assert "is a folder" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    handlers, level = logging.root.handlers, logging.root.level
    out = io.StringIO()
    log.setup("json", "info", out, WallClock())
    hear_this_thread_alone()
    yield out
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def test_a_library_that_repeats_itself_is_heard_once_a_minute(logged: io.StringIO) -> None:
    library = logging.getLogger("kafka.net.manager")
    (handler,) = [handler for handler in logging.root.handlers if isinstance(handler, log._Lines)]

    def complain(second: float, port: int) -> None:
        told = library.makeRecord(library.name, logging.ERROR, "manager.py", 7, "lost %d", (port,), None)
        told.created = 1e9 + second
        handler.emit(told)

    for second in range(61):
        complain(second, second)
    library.error("something else")
    lines = [(each["message"], each.get("repeated")) for each in lines_of(logged.getvalue())]
    assert lines == [("lost 0", None), ("lost 60", 59), ("something else", None)]
