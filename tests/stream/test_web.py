"""The web server on a real socket: what it answers, how it refuses, and that it never disturbs the loop."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from stream import log
from stream.ledger import OUTCOMES
from stream.rules.rule_file import read_rules
from stream.rules.standing import Standing
from stream.telemetry import Build, Figures
from stream.web import answers, ranking
from stream.web.routes import PAGE
from stream.web.server import WebError, WebServer
from stream.web.snapshot import HISTORY, SECOND, Board, Snapshot, Streams

ROOT = Path(__file__).parent.parent.parent
HOSTILE = '<img src=x onerror="alert(1)">\n\\ü\ud800'
JSON = ("status", "rules", "history", "alerts", "silences", "streams", "coverage")
ADDRESSES = ("/", "/metrics", "/-/healthy", "/-/ready", *(f"/api/v1/{name}" for name in JSON))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


@contextmanager
def served(snapshot: Snapshot | None = None, board: Board | None = None) -> Iterator[httpx.Client]:
    board = board or Board()
    if snapshot is not None:
        board.publish(snapshot)
    server = WebServer(board, port=0)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=20) as client:
            yield client
    finally:
        server.stop()


def table(n: int, **columns: Any) -> Streams:
    """``n`` streams, two in each group."""
    given = {
        "names": [f"s{i}" for i in range(n)],
        "groups": [f"g{i // 2}" for i in range(n)],
        "score": np.arange(n, dtype=np.float32),
        "value": np.arange(n) * 10.0,
        "weight": -np.arange(n, dtype=np.float32),
        "outcome": np.zeros(n, np.int8),
        "ts": np.full(n, SECOND, np.int64),
        "age": np.zeros(n, np.float32),
    }
    return Streams(**{**given, **columns})


def alert(name: str = "s1", status: str = "firing") -> dict[str, Any]:
    return {
        "id": "f-1", "fingerprint": "f", "status": status, "active_at": "2026-01-01T00:00:00Z",
        "starts_at": "2026-01-01T00:00:02Z", "ends_at": None,
        "labels": {"alertname": "anomaly", "severity": "warning", "stream": name}, "annotations": {"summary": name},
        "rule": "anomaly", "group": "g", "reason": "expr_true",
        "streams": [{"stream": name, "value": 8.5, "expected": None, "low": 1.0, "high": 2.0, "score": 1.5}],
    }  # fmt: skip


def names(client: httpx.Client, query: str = "") -> list[str]:
    return [row["stream"] for row in client.get(f"/api/v1/streams{query}").json()["data"]["streams"]]


# -- probes, metrics, status


def test_it_is_healthy_before_anything_is_known_and_not_ready_yet() -> None:
    with served() as client:
        assert client.get("/-/healthy").status_code == 200
        found = client.get("/-/ready")
        assert (found.status_code, found.text) == (503, "starting\n")
        assert client.get("/api/v1/status").json()["state"] == "starting"


def test_it_says_why_it_is_not_ready_and_then_that_it_is() -> None:
    board = Board()
    board.publish(Snapshot(state="warming", reasons=("no partition assigned", "no model")))
    with served(board=board) as client:
        found = client.get("/-/ready")
        assert (found.status_code, found.text) == (503, "no partition assigned\nno model\n")
        board.publish(Snapshot(state="ready", ready=True))
        found = client.get("/-/ready")
        assert (found.status_code, found.text) == (200, "ready\n")


def test_metrics_can_be_scraped_with_hostile_names() -> None:
    figures = Figures(records={HOSTILE: 3}, alerts={(HOSTILE, "firing"): 1})
    with served(Snapshot(figures=figures)) as client:
        found = client.get("/metrics")
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(found.text)}
    (sample,) = families["heed_source_records"].samples
    assert sample.labels == {"source": HOSTILE.replace("\ud800", "?")}


def test_status_is_the_summary_so_far_and_how_things_are_now() -> None:
    summary = {"readings": np.int64(7), "coverage": float("nan"), "lag": {"p99": np.float32("inf")}, "streams": 2}
    figures = Figures(coverage=0.5, build=Build("1.0", "builtin", "abc"))
    snapshot = Snapshot("catching_up", 5 * SECOND, False, ("behind",), summary, figures=figures, lag_now=0.125)
    with served(snapshot) as client:
        found = client.get("/api/v1/status").json()
    assert (found["readings"], found["streams"], found["coverage"], found["lag"]) == (7, 2, None, {"p99": None})
    assert (found["state"], found["ready"], found["reasons"]) == ("catching_up", False, ["behind"])
    assert (found["now"]["lag"], found["now"]["coverage"]) == (0.125, 0.5)
    assert (found["time"], found["model"]) == ("1970-01-01T00:00:05Z", {"name": "builtin", "digest": "abc"})


def test_history_keeps_one_point_a_second_and_forgets_the_oldest() -> None:
    board = Board()
    for i in range(4 * HISTORY + 40):
        board.publish(Snapshot(time=(1 + i) * SECOND // 4, lag_now=i))
    with served(board=board) as client:
        found = client.get("/api/v1/history").json()["data"]
    assert len(found["time"]) == len(found["lag"]) == len(found["coverage"]) == HISTORY
    assert np.diff(found["time"]).tolist() == [1.0] * (HISTORY - 1)
    assert found["time"][-1] == HISTORY + 10
    assert found["lag"][-1] == 4 * found["time"][-1] - 1


def test_what_is_read_is_always_of_one_moment() -> None:
    board, stop = Board(), threading.Event()

    def publish() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            firing = (alert(),) * (n % 50)
            board.publish(Snapshot(time=n * SECOND, summary={"n": n}, alerts=firing, lag_now=n))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        with served(board=board) as client:
            found = [client.get("/api/v1/status").json() for _ in range(40)]
    finally:
        stop.set()
        publisher.join()
    assert len({status["n"] for status in found}) > 1
    assert [s["now"]["alerts_firing"] for s in found] == [s["n"] % 50 for s in found]
    assert [s["now"]["lag"] for s in found] == [s["n"] for s in found]


# -- alerts


def test_alerts_have_the_shape_that_prometheus_gives_and_all_of_the_message() -> None:
    silent = {**alert("s2"), "streams": [{"stream": "s2", "value": None}]}
    with served(Snapshot(alerts=(alert(HOSTILE), silent), recent=(alert("s3", "resolved"),))) as client:
        found = client.get("/api/v1/alerts").json()
        assert len(client.get("/api/v1/alerts?limit=1").json()["data"]["alerts"]) == 1
    first, second = found["data"]["alerts"]
    assert (found["status"], found["data"]["total"]) == ("success", 2)
    assert (first["state"], first["activeAt"], first["value"]) == ("firing", "2026-01-01T00:00:00Z", "8.5")
    assert first["labels"]["stream"] == HOSTILE
    assert {name: first[name] for name in alert()} == alert(HOSTILE)
    assert second["value"] == "NaN"
    assert [each["state"] for each in found["data"]["recent"]] == ["resolved"]


# -- rules


RULES = """
groups:
  - name: plant
    interval: 10s
    rules:
      - {alert: anomaly, expr: score > 1, for: 1m, labels: {severity: warning}, annotations: {summary: x}}
      - {alert: anomaly, expr: score > 2, labels: {severity: critical}}
  - {name: other, rules: [{alert: calm, expr: score < 1}]}
"""


def test_rules_have_prometheus_shape_with_their_states_and_alerts() -> None:
    first, second, third = read_rules(RULES, "r.yaml")
    standings = (
        Standing(first, pending=1, firing=1, evaluations=9, unknown=2, evaluated=SECOND, waiting=(("s7", "g3", 0),)),
        Standing(second, evaluated=2 * SECOND),
        Standing(third),
    )
    with served(Snapshot(rules=standings, alerts=(alert("s1"),))) as client:
        found = client.get("/api/v1/rules").json()
        bare = client.get("/api/v1/rules?exclude_alerts=true").json()["data"]["groups"]
        assert client.get("/api/v1/rules?type=record").json()["data"] == {"groups": []}
        assert client.get("/api/v1/rules?exclude_alerts=perhaps").status_code == 400
    plant, other = found["data"]["groups"]
    assert (plant["name"], plant["file"], plant["interval"]) == ("plant", "r.yaml", 10)
    assert plant["lastEvaluation"] == "1970-01-01T00:00:02Z"
    assert [rule["state"] for rule in plant["rules"]] == ["firing", "inactive"]
    assert [len(rule["alerts"]) for rule in plant["rules"]] == [2, 0], "each alert stands with its own rule"
    shown = plant["rules"][0]
    assert [each["state"] for each in shown["alerts"]] == ["firing", "pending"]
    assert shown["alerts"][1]["labels"]["stream"] == "s7"
    wanted = {"name": "anomaly", "query": "score > 1", "duration": 60, "type": "alerting", "health": "ok", "unknown": 2}
    assert wanted.items() <= shown.items()
    assert (other["rules"][0]["health"], other["rules"][0]["state"]) == ("unknown", "unknown")
    assert other["rules"][0]["lastEvaluation"].startswith("0001-")
    assert [rule["alerts"] for group in bare for rule in group["rules"]] == [[], [], []]


# -- streams


def test_the_streams_of_the_highest_score_come_first() -> None:
    with served(Snapshot(streams=table(300))) as client:
        found = client.get("/api/v1/streams").json()["data"]
        assert [row["stream"] for row in found["streams"]] == [f"s{i}" for i in range(299, 199, -1)]
        assert found["total"] == 300
        assert found["streams"][0] == {
            "stream": "s299", "group": "g149", "score": 299.0, "value": 2990.0, "weight": -299.0, "age": 0.0,
            "outcome": "full", "ts": "1970-01-01T00:00:01Z", "labels": {},
        }  # fmt: skip
        assert names(client, "?sort=weight&limit=2") == ["s0", "s1"]
        assert names(client, "?sort=name&limit=3") == ["s0", "s1", "s10"]


def test_streams_of_which_nothing_is_said_come_last_and_hold_nulls() -> None:
    nan = np.nan
    streams = table(3, score=np.float32([nan, 0.5, np.inf]), outcome=np.int8([-1, 3, 0]), ts=np.array([0, 1, 1]))
    with served(Snapshot(streams=streams)) as client:
        rows = client.get("/api/v1/streams").json()["data"]["streams"]
    assert [row["stream"] for row in rows] == ["s2", "s1", "s0"]
    assert [row["score"] for row in rows] == [None, 0.5, None]
    assert (rows[2]["outcome"], rows[2]["ts"], rows[1]["outcome"]) == (None, None, "shed")


@pytest.mark.parametrize("sort", ranking.SORTS)
def test_the_first_streams_are_those_that_sorting_all_would_give(sort: str) -> None:
    draw = np.random.default_rng(7)
    for n, limit in [(0, 5), (1, 1), (40, 7), (40, 40), (500, 499), (40, 100)]:
        numbers = (
            draw.choice(np.float32([0, 0.5, 0.5, 1, np.nan, np.inf, -np.inf]), n) if n else np.empty(0, np.float32)
        )
        known = [f"s{i}" if draw.random() < 0.8 else "" for i in draw.permutation(n)]
        streams = table(n, names=known, score=numbers, weight=numbers, age=numbers)
        found = ranking.first(streams, ranking.matching(streams), sort, limit).tolist()
        live = [slot for slot in range(n) if known[slot]]
        keys = {slot: -numbers[slot] if numbers[slot] == numbers[slot] else np.inf for slot in live}
        order = sorted(live, key=lambda s: known[s]) if sort == "name" else sorted(live, key=lambda s: (keys[s], s))
        same = [known[s] if sort == "name" else keys[s] for s in order[:limit]]
        assert [known[s] if sort == "name" else keys[s] for s in found] == same
        assert len(set(found)) == len(found)
        assert set(found) <= set(live)


def test_streams_are_found_by_part_of_their_name_and_by_group() -> None:
    streams = table(4, names=["Press/A", "press/b", "", HOSTILE], groups=["x", "y", "x", "x"])
    with served(Snapshot(streams=streams)) as client:
        assert names(client, "?q=PRESS") == ["press/b", "Press/A"]
        assert names(client, "?group=x") == [HOSTILE, "Press/A"]
        assert names(client, "?q=press&group=y") == ["press/b"]
        assert names(client, "?q=nothing") == []
        assert names(client, "?q=&sort=name")[0] == HOSTILE


def test_streams_that_are_being_added_are_not_shown_before_every_column_has_them() -> None:
    streams = table(3, names=["a", "b", "c", "d", "e"])
    with served(Snapshot(streams=streams)) as client:
        assert names(client, "?sort=name") == ["a", "b", "c"]


def test_coverage_tells_by_group_what_was_looked_at() -> None:
    codes = [OUTCOMES.index(name) for name in ("full", "shed", "lite", "full", "gap", "warmup", "full")]
    streams = table(8, outcome=np.int8([*codes, -1]))
    with served(Snapshot(streams=streams, figures=Figures(coverage=0.25))) as client:
        found = client.get("/api/v1/coverage").json()["data"]
        one = client.get("/api/v1/coverage?group=g1&limit=5").json()["data"]
    assert [(g["group"], g["coverage"]) for g in found["groups"]] == [("g0", 0.5), ("g1", 1), ("g3", 1), ("g2", None)]
    assert found["groups"][0]["windows"] == {**dict.fromkeys(OUTCOMES, 0), "full": 1, "shed": 1}
    assert (found["coverage"], found["total"]) == (0.25, 4)
    assert [group["group"] for group in one["groups"]] == ["g1"]


def test_a_hundred_thousand_streams_answer_quickly() -> None:
    n = 100_000
    draw = np.random.default_rng(3)
    snapshot = Snapshot(streams=table(n, score=draw.random(n, np.float32), outcome=np.zeros(n, np.int8)))
    spent = []
    for _ in range(5):
        start = perf_counter()
        assert len(answers.streams(snapshot)["streams"]) == 100
        spent.append(perf_counter() - start)
    assert min(spent) < 0.1  # about 6 ms on a quiet core


# -- refusals


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("streams?limi=3", 'unknown parameter "limi"; known here: limit, sort, group, q'),
        ("status?x", 'unknown parameter "x"; none is known here'),
        ("streams?limit=1&limit=2", "parameter limit is given more than once"),
        ("streams?limit=0", 'parameter limit: expected a whole number from 1 to 10000, found "0"'),
        ("streams?limit=%C2%B2", 'parameter limit: expected a whole number from 1 to 10000, found "²"'),
        ("streams?limit=99999999999999999999999", "parameter limit: expected a whole number from 1 to 10000"),
        ("alerts?limit=-1", 'parameter limit: expected a whole number from 1 to 10000, found "-1"'),
        ("streams?sort=colour", 'parameter sort: expected one of score, weight, age, name, found "colour"'),
    ],
)
def test_a_parameter_that_is_wrong_is_refused_with_its_name(address: str, said: str) -> None:
    with served() as client:
        found = client.get(f"/api/v1/{address}")
    assert found.status_code == 400
    assert found.json()["status"] == "error"
    assert found.json()["errorType"] == "bad_data"
    assert found.json()["error"].startswith(said)


def test_an_unknown_address_and_an_unknown_method_are_told_in_json() -> None:
    with served() as client:
        for path in ("/nothing", "/api/v1/", "/page/..%2Fserver.py", "/page/x.js", "/api/v1/status/"):
            found = client.get(path)
            assert (found.status_code, found.json()["errorType"]) == (404, "not_found")
        found = client.post("/api/v1/status")
        assert (found.status_code, found.json()["errorType"]) == (405, "method_not_allowed")
        assert found.json()["error"] == "/api/v1/status does not take POST"
        assert set(found.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_failure_is_told_in_json_logged_and_stops_nothing() -> None:
    out = io.StringIO()
    log.setup("json", "info", out)
    logging.root.handlers = logging.root.handlers[-1:]
    with served(Snapshot(alerts=({"streams": 3},))) as client:
        found = client.get("/api/v1/alerts")
        assert (found.status_code, found.json()["errorType"]) == (500, "internal")
        assert found.headers["x-content-type-options"] == "nosniff"
        assert client.get("/-/healthy").status_code == 200
    lines = [json.loads(each) for each in out.getvalue().splitlines()]
    (line,) = [each for each in lines if each.get("logger") == "stream.web.every"]
    assert (line["event"], line["level"]) == ("library.logged", "error")
    assert "TypeError" in line["exception"]


# -- every answer


def test_every_address_takes_head_and_get_and_says_the_same_headers() -> None:
    with served(Snapshot(ready=True, streams=table(3))) as client:
        for path in (*ADDRESSES, *(f"/page/{name}" for name in PAGE)):
            got, head = client.get(path), client.head(path)
            assert (got.status_code, head.status_code) == (200, 200), path
            assert (head.content, got.content != b"") == (b"", True)
            assert head.headers["content-type"] == got.headers["content-type"]


def test_no_answer_is_cached_framed_or_guessed_at() -> None:
    with served() as client:
        for path in (*ADDRESSES, "/page/heed.js", "/nothing", "/api/v1/status?x=1"):
            headers = client.get(path).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["script-src"] == policy["connect-src"] == "'self'"
            assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
            assert not [name for name in headers if name.startswith("access-control") or name in ("server", "etag")]


def test_large_answers_are_compressed_for_those_who_take_it() -> None:
    with served(Snapshot(streams=table(200))) as client:
        packed = client.get("/api/v1/streams")
        plain = client.get("/api/v1/streams", headers={"accept-encoding": "identity"})
    assert (packed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert int(packed.headers["content-length"]) * 3 < int(plain.headers["content-length"])
    assert packed.json() == plain.json()


# -- the server itself


def test_an_address_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = WebServer(Board(), port=port)
        with pytest.raises(WebError, match=f"can't listen on 127.0.0.1:{port}: Address already in use"):
            server.start()
        server.stop()


def test_a_host_that_is_not_here_is_a_clear_error() -> None:
    with pytest.raises(WebError, match=r"can't listen on nowhere\.invalid:8321: "):
        WebServer(Board(), "nowhere.invalid").start()
    with pytest.raises(WebError, match=r"can't listen on 192\.0\.2\.1:0: "):
        WebServer(Board(), "192.0.2.1", 0).start()


def test_it_tells_where_it_really_listens_in_a_thread_of_its_own() -> None:
    before = set(threading.enumerate())
    server = WebServer(Board(), port=0)
    server.start()
    try:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.address)
        assert server.url == f"http://{server.address}/"
        assert httpx.get(f"{server.url}-/healthy").status_code == 200
        assert [thread.name for thread in set(threading.enumerate()) - before] == ["web"]
    finally:
        server.stop()


def test_every_interface_is_named_by_one_that_a_browser_can_open() -> None:
    server = WebServer(Board(), "", 0)
    server.start()
    try:
        assert server.url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{server.url}-/healthy").status_code == 200
    finally:
        server.stop()


def test_it_stops_soon_though_a_client_stays_connected_and_frees_the_port() -> None:
    server = WebServer(Board(), port=0)
    server.start()
    port = int(server.address.rpartition(":")[2])
    with httpx.Client() as client, socket.create_connection(("127.0.0.1", port)) as silent:
        client.get(f"{server.url}-/healthy")
        silent.sendall(b"GET / HT")
        server.stop(10)
        assert not server._thread.is_alive()
    again = WebServer(Board(), port=port)
    again.start()
    again.stop()
    again.stop()


def test_requests_are_not_logged_even_where_all_is() -> None:
    out = io.StringIO()
    log.setup("json", "debug", out)
    logging.root.handlers = logging.root.handlers[-1:]
    with served() as client:
        client.get("/api/v1/status?secret=1")
    assert "secret" not in "".join(line for line in out.getvalue().splitlines() if "httpx" not in line)
    assert "uvicorn.access" not in out.getvalue()


# -- the page, as it lies there


def test_no_script_can_make_markup_of_a_text() -> None:
    scripts = {name: (ROOT / "stream/web/page" / name).read_text() for name in PAGE if name.endswith(".js")}
    assert len(scripts) == 3
    made = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|createContextualFragment|\beval\b"
    for name, text in scripts.items():
        assert not re.search(made + r"|new Function|srcdoc|setAttribute|javascript:|\.on[a-z]+ *=[^=]", text), name


def test_the_page_has_no_inline_script_or_style_and_needs_nothing_from_elsewhere() -> None:
    folder = ROOT / "stream/web/page"
    assert {path.name for path in folder.iterdir()} == set(PAGE)
    page = (folder / "index.html").read_text()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?![^>]*\bsrc=)", page)
    assert {name for name in PAGE if name != "index.html" and f"page/{name}" in page} == {
        "heed.js",
        "heed.css",
        "icon.svg",
    }
    for name in PAGE:
        text = (folder / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import", text), name
    assert [link for link in re.findall(r'(?:href|src)="([^"]+)"', page) if link.startswith("/")] == []


def test_the_scripts_name_only_elements_that_the_page_has() -> None:
    folder = ROOT / "stream/web/page"
    page, script = (folder / "index.html").read_text(), (folder / "heed.js").read_text()
    used = set(re.findall(r'(?:\$|set|meter|fill)\("([a-z-]+)"', script))
    assert len(used) > 20
    assert used - set(re.findall(r'\bid="([a-z-]+)"', page)) == set()


def test_one_stream_is_found_by_its_whole_name() -> None:
    with served(Snapshot(streams=table(30))) as client:
        assert names(client, "?stream=s2") == ["s2"]
        assert names(client, "?stream=s") == []


# -- documentation and house


def test_the_documentation_tells_of_every_address_and_parameter() -> None:
    text = (ROOT / "docs" / "http.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(/[^`]*)` \|", text, re.MULTILINE)) == {*ADDRESSES, "/-/reload"}
    for word in ("limit", "sort", "group", "q", "stream", *ranking.SORTS, *OUTCOMES):
        assert f"`{word}`" in text
    assert set(answers.status(Snapshot())["now"]) <= set(re.findall(r"`(\w+)`", text))


def test_only_the_wiring_knows_the_web() -> None:
    for path in (path for room in ("stream", "models", "connectors") for path in (ROOT / room).rglob("*.py")):
        inside = path.relative_to(ROOT).parts[:2] in {("stream", "web"), ("stream", "app")}
        for node in [] if inside else ast.walk(ast.parse(path.read_text("utf-8"))):
            found = [node.module] if isinstance(node, ast.ImportFrom) else []
            found += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in found if name and name.startswith("stream.web")], path
