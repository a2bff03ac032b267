"""`heed top` and `heed tap` against a real web server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from connectors.source import SourceError
from stream.app.tap import steps, tap
from stream.app.top import TopOptions, run_top
from stream.web.server import WebServer
from stream.web.snapshot import Board, Snapshot, Streams

T0 = 1_767_225_600 * SECOND
WINDOWS = {"due": 9, "full": 5, "lite": 0, "sentinel": 0, "shed": 4, "gap": 0, "warmup": 0}
SUMMARY = {"readings": 1234, "streams": 3, "windows": WINDOWS, "lag": {"p50": 0.01, "p99": 0.3, "max": 0.4}}
ALERT = {
    "fingerprint": "f", "status": "firing", "active_at": "2026-01-01T00:00:00Z", "starts_at": "2026-01-01T00:00:02Z",
    "labels": {"alertname": "Hot", "stream": "press1/[red]temp", "group": "press1"}, "group": "press1",
    "rule": "Hot", "reason": "expr_true", "streams": [{"value": 8.5}],
}  # fmt: skip
STREAMS = Streams(
    names=["press1/[red]temp", "press1/load", ""],
    groups=["press1", "press1", ""],
    score=np.array([1.5, np.nan, 0], np.float32),
    value=np.array([8.25, 2.0, 0]),
    weight=np.array([0.5, 3.0, 0], np.float32),
    outcome=np.array([0, 3, 0], np.int8),
    ts=np.array([T0, T0, 0]),
    age=np.array([0, 2, 0], np.float32),
)
SNAPSHOT = Snapshot(
    state="catching_up", reasons=("source kafka: gone",), summary=SUMMARY, alerts=(ALERT,), budget_seconds=0.25,
    lag_now=0.3, streams=STREAMS, time=T0,
)  # fmt: skip


@contextmanager
def served(snapshot: Snapshot = SNAPSHOT) -> Iterator[tuple[str, Board]]:
    board = Board()
    board.publish(snapshot)
    server = WebServer(board, port=0)
    server.start()
    try:
        yield server.url, board
    finally:
        server.stop()


def options(url: str, **more: object) -> TopOptions:
    return TopOptions(url, SECOND, **{"once": True, **more})  # type: ignore[arg-type]


def test_top_shows_state_lag_reasons_alerts_groups_and_streams(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "180")
    with served() as (url, _):
        assert run_top(options(url)) == 0
    said = capsys.readouterr().out
    for part in ("heed catching_up", "300 ms of 250 ms", "not ready: source kafka: gone", "readings 1,234", "shed 4"):
        assert part in said, part
    assert "alerts (1 firing)" in said and "Hot" in said and "expr_true" in said
    assert "press1/[red]temp" in said, "a name is no markup"
    assert said.index("press1/[red]temp", said.index("streams by score")) < said.rindex("press1/load")
    assert "2 in all" in said and "1 in all" in said


def test_top_sorts_as_asked_and_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    with served() as (url, _):
        assert run_top(options(url, sort="weight", output="json", rows=1)) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"status", "alerts", "coverage", "streams"}
    assert [row["stream"] for row in said["streams"]["streams"]] == ["press1/load"]
    assert said["status"]["reasons"] == ["source kafka: gone"]


def test_tap_prints_a_line_for_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with served() as (url, _):
        assert tap(url, "press1/[red]temp", SECOND // 100, 1, "table") == 0
        assert tap(url, "press1/[red]temp", SECOND // 100, 1, "json") == 0
    head, row, as_json = capsys.readouterr().out.splitlines()
    assert head.split() == ["ts", "value", "score", "weight", "outcome", "age"]
    assert row.split()[1:5] == ["8.25", "1.5", "0.5", "full"]
    assert json.loads(as_json)["value"] == 8.25


def test_a_step_is_told_once_and_again_when_it_is_another() -> None:
    told = [{"ts": t, "outcome": "full"} for t in "aabbc"]
    seen = iter([{"ts": None, "outcome": None}, *told[:4], None, *told[4:]])  # it is away for a while
    clock = ReplayClock(T0)
    found = [row and row["ts"] for row in islice(steps(lambda: next(seen), clock, SECOND), 3)]
    assert found == ["a", "b", "c"]
    assert clock.now() == T0 + 6 * SECOND
    assert list(steps(lambda: None, clock, SECOND)) == [None]


def test_a_stream_that_is_not_there_is_told_with_those_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    with served() as (url, _):
        assert tap(url, "press2/load", SECOND, None, "table") == 1
    assert "no stream 'press2/load' is known there; there are press1/load" in capsys.readouterr().err


def test_nobody_there_is_told() -> None:
    with pytest.raises(SourceError, match="refused"):
        run_top(options("http://127.0.0.1:1"))
    with pytest.raises(SourceError, match="write an address"):
        run_top(options("127.0.0.1:8321"))
    with served() as (url, _), pytest.raises(SourceError, match="parameter sort"):
        run_top(options(url, sort="colour"))
