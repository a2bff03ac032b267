"""`heed top`, `heed tap` and `heed rules check --url` against daemons that really run: one process, and several."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import heed, start
from listening import free_port
from whole.test_workers import STREAMS, Topic, dealt, get, status, until, workers, written

STEPS = 20


@contextmanager
def single(folder: Path, port: int) -> Iterator[None]:
    """A daemon of one process, without a model, over the synthetic world."""
    config = {
        "sources": [{"type": "synthetic", "streams": 20, "seed": 1, "step": "250ms"}],
        "model": {"name": "none"},
        "state": {"path": str(folder / "state")},
        "server": {"listen": f"127.0.0.1:{port}"},
    }
    (folder / "heed.yaml").write_text(json.dumps(config))
    with (folder / "log").open("w") as out:
        process = start("run", "-c", folder / "heed.yaml", stdout=out, stderr=out)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_one_process_is_watched(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with single(tmp_path, port):
        until(lambda: status(port)["windows"]["due"] > 0)
        shown = heed("top", "--once", "--sort", "name", "--rows", 3, "--url", url).stdout
        assert "heed warming" in shown and "streams by name (20 in all)" in shown, shown
        (first,) = json.loads(get(port, "api/v1/streams?limit=1&sort=name"))["data"]["streams"]
        assert first["stream"] in shown and first["group"] in shown
        lines = heed("tap", first["stream"], "--count", 2, "--url", url).stdout.splitlines()
        assert lines[0].split() == ["ts", "value", "score", "weight", "outcome", "age"]
        before, after = (line.split()[0].rstrip("Z") for line in lines[1:])
        assert before < after, "a step after the other"


@pytest.mark.slow
@pytest.mark.kafka
def test_two_workers_are_watched_as_one(tmp_path: Path, kafka: str, topic: Topic) -> None:
    name, port = topic(2), free_port()
    url, first = f"http://127.0.0.1:{port}", int(time.time()) - STEPS
    with workers(tmp_path, kafka, name, port):
        until(lambda: [dealt(port, worker) for worker in (0, 1)] == [1, 1])
        written(kafka, name, 0, STEPS, first, partition=lambda stream: stream % 2)
        until(lambda: status(port)["streams"] == STREAMS and status(port)["ready"])

        shown = heed("top", "--once", "--rows", 100, "--url", url).stdout
        assert f"streams {STREAMS} " in shown and f"streams by score ({STREAMS} in all)" in shown, shown
        assert "groups looked at least (4 in all)" in shown
        every = [f"m{stream % 4}/s{stream:02d}" for stream in range(STREAMS)]
        assert all(shown.count(f"{each} ") == 1 for each in every), "each stands once, whichever worker has it"
        until(lambda: [row["status"]["streams"] for row in status(port)["workers"]] == [STREAMS // 2] * 2)
        for stream in every[:2]:  # one of each partition
            (row,) = map(json.loads, heed("tap", stream, "--count", 1, "-o", "json", "--url", url).stdout.splitlines())
            assert row["stream"] == stream and row["ts"]
        unknown = heed("tap", "m9/s01", "--url", url, code=1).stderr
        assert "no stream 'm9/s01' is known there; there are m1/s01" in unknown

        rules = tmp_path / "rules.yaml"
        rules.write_text("""groups: [{name: g, rules: [
            {alert: Known, expr: 'value > 90 and group == "m3"'},
            {alert: Unknown, expr: 'value > 90 and group == "m9"'},
        ]}]""")
        said = heed("rules", "check", rules, "--url", url, code=1).stdout
        assert f"error: Unknown: is about none of the {STREAMS} streams" in said and "error: Known" not in said, said


@pytest.mark.slow
@pytest.mark.kafka
def test_groups_at_two_workers_are_noticed_without_a_web_server(tmp_path: Path, kafka: str, topic: Topic) -> None:
    name, port = topic(2), free_port()
    written(kafka, name, 0, 5, int(time.time()) - 5, partition=lambda stream: stream // 4 % 2)  # groups on both
    with workers(tmp_path, kafka, name, port, "--no-web"):
        until(lambda: "group.spread" in (tmp_path / "log").read_text())
        with pytest.raises(OSError):
            status(port)
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if "group.spread" in line]
    assert json.loads(line)["groups"] == 4
