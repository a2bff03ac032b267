"""The live page in a real browser: what it shows, that hostile names stay text, and that it says when it is cut off."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from stream.notify.notifier import Suppressed
from stream.telemetry import Figures
from stream.web.server import WebServer
from stream.web.snapshot import SECOND, Board, Snapshot, Streams

PAGE = Path(__file__).parent.parent.parent / "stream" / "web" / "page"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>&lt;'
NOON = 1_767_268_800 * SECOND

if BROWSER is None and not os.environ.get("CI"):
    pytest.skip("no chromium is installed", allow_module_level=True)


@pytest.fixture
def board() -> Iterator[tuple[Board, str]]:
    """A board, and where the page that shows it is."""
    board = Board()
    server = WebServer(board, port=0)
    server.start()
    yield board, server.url
    server.stop()


def seen(url: str, tmp_path: Path) -> tuple[str, str]:
    """The page's document after a few seconds, and what the browser complained of."""
    assert BROWSER, "a browser is needed where CI is set"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path}", "--virtual-time-budget=3500", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def part(document: str, name: str) -> str:
    """The text of the element with this id, which holds no other."""
    found = re.search(rf'<\w+ [^>]*id="{name}"[^>]*>([^<]*)<', document)
    assert found, name
    return found[1]


def busy() -> Snapshot:
    score = np.float32([0.25, 1.5, np.nan])
    streams = Streams(
        ["press1/flow", HOSTILE, "press2/flow"], ["press1", HOSTILE, "press2"], score, np.array([1.5, 2.5, np.nan]),
        score, np.int8([0, 3, -1]), np.array([NOON, NOON, 0]), np.float32([1, 40, np.nan]),
    )  # fmt: skip
    firing = {
        "fingerprint": "f",
        "status": "firing", "starts_at": "2026-01-01T12:00:00Z", "ends_at": None, "reason": HOSTILE, "group": HOSTILE,
        "labels": {"alertname": HOSTILE, "severity": HOSTILE, "stream": HOSTILE}, "annotations": {"summary": HOSTILE},
        "streams": [{"value": 8.25, "expected": 3.0, "low": None, "high": None, "score": 1.5}],
    }  # fmt: skip
    windows = {"due": 10, "full": 6, "lite": 0, "sentinel": 0, "shed": 3, "gap": 0, "warmup": 1}
    summary = {"windows": windows, "groups": 2, "coverage": 0.6, "alerts": 4, "lag": {"p99": 0.15}}
    figures = Figures(coverage=0.75, streams={"active": 1200, "warmup": 34}, unseen_max_seconds=40.0)
    return Snapshot(
        "catching_up", NOON, False, (HOSTILE,), summary, (firing,), (firing,), 1, 0.12, 0.25, streams, figures,
        {"f": Suppressed(("4bd1",))},
    )  # fmt: skip


def test_the_page_shows_what_heed_knows(board: tuple[Board, str], tmp_path: Path) -> None:
    board[0].publish(busy())
    document, complaints = seen(board[1], tmp_path)
    assert complaints == ""
    shown = {name: part(document, name) for name in ("state", "streams", "lag", "coverage", "unseen", "firing")}
    assert shown == {
        "state": "catching up", "streams": "1,234", "lag": "150 ms", "coverage": "75.0 %", "unseen": "40.0 s",
        "firing": "1",
    }  # fmt: skip
    assert part(document, "streams-more") == "2 groups · 34 in warm-up"
    assert part(document, "lag-more") == "250 ms allowed · now 120 ms"
    assert part(document, "firing-more") == "1 incident open · 4 since the start"
    assert "shed 3 (30.0 %)" in document
    rows = re.findall(r'class="name" data-label="stream">([^<]*)<', document)
    assert rows[-2:] == ["press1/flow", "press2/flow"]
    assert '<td class="number alarming" data-label="score">1.50</td>' in document
    assert '<td class="number" data-label="expected">3</td>' in document
    assert document.count("(silenced) ") == 1


def test_names_with_markup_in_them_stay_text(board: tuple[Board, str], tmp_path: Path) -> None:
    board[0].publish(busy())
    document, complaints = seen(board[1], tmp_path)
    assert complaints == ""
    assert "<title>heed – catching up</title>" in document
    assert "<img src=x" not in document
    assert document.count("<script") == document.count("<img") == 1
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert document.count(escaped) == 10  # reasons, an alert's four, a change's three, a stream and its group


def test_before_anything_is_known_the_page_says_so(board: tuple[Board, str], tmp_path: Path) -> None:
    document, complaints = seen(board[1], tmp_path)
    assert complaints == ""
    assert (part(document, "state"), part(document, "streams"), part(document, "firing")) == ("starting", "0", "0")
    assert re.search(r'id="no-streams">No stream', document)
    assert re.search(r'id="no-alerts">Nothing fires', document)
    assert re.search(r'id="lost"[^>]*hidden=""', document)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_page_says_when_nobody_answers(tmp_path: Path) -> None:
    shutil.copytree(PAGE, tmp_path / "page")
    shutil.copy(PAGE / "index.html", tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as alone:
        threading.Thread(target=alone.serve_forever, daemon=True).start()
        document, _ = seen(f"http://127.0.0.1:{alone.server_port}/", tmp_path / "profile")
        alone.shutdown()
    assert part(document, "state") == "connection lost"
    assert re.search(r'id="lost"[^>]*>Connection lost at [\d:]+: ', document)
    assert not re.search(r'id="lost"[^>]*hidden', document)
    assert '<main id="live" class="old">' in document
