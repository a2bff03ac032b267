"""Several workers behind one address: what they say is joined, what is asked for goes to all, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from test_web import HOSTILE, alert, table

from connectors.clock import WallClock
from stream.app.shared_silences import SharedSilences
from stream.app.siblings import Sibling, Siblings
from stream.config_text import ConfigError
from stream.ledger import FULL
from stream.notify.notifier import Notifier
from stream.rules.rule_file import read_rules
from stream.rules.standing import Standing
from stream.web.routes import application
from stream.web.server import WebServer
from stream.web.snapshot import SECOND, Board, Snapshot
from stream.web.together import together

RULES = """
groups:
  - {name: g, rules: [{alert: High, expr: value > 1}, {alert: Low, expr: value < 1, for: 1m}]}
  - {name: h, rules: [{alert: Odd, expr: score > 1}]}
"""
BODY = {"matchers": ["stream=a"], "duration": "1h", "createdBy": "ann", "comment": "why not"}
SILENCES = "/api/v1/silences"


class Worker:
    """A worker's HTTP interface, and a loop that keeps its silences."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        self.number, self.up = number, True
        self.notifier, self.board, self.clock = Notifier(None), Board(), WallClock()
        self.snapshot = Snapshot(state="ready", ready=True)
        self.reload_says: str | Exception = "no rule changed"
        self.server = WebServer(application(self.board, self.notifier.desk, self._reload), port=0)
        self.server.start()
        stack.callback(self.server.stop)
        self._stop = threading.Event()
        thread = threading.Thread(target=self._loop)
        thread.start()
        stack.callback(lambda: (self._stop.set(), thread.join()))

    def _loop(self) -> None:
        while not self._stop.wait(0.005):
            now = self.clock.now()
            self.notifier.step([], now)
            self.board.publish(replace(self.snapshot, silences=self.notifier.silences.told(now)))
            self.notifier.answer(now)

    def _reload(self) -> Future[str]:
        found: Future[str] = Future()
        if isinstance(self.reload_says, Exception):
            found.set_exception(self.reload_says)
        else:
            found.set_result(self.reload_says)
        return found

    def sibling(self) -> Sibling:
        port = int(self.server.url.rstrip("/").rpartition(":")[2])
        return Sibling(self.number, port, lambda: (self.up, 0))

    def knows(self) -> dict[str, str]:
        """Its silences: id to state."""
        return {each["id"]: each["status"]["state"] for each in self.notifier.silences.told(self.clock.now())}


class All:
    """Two workers, and what is served for both."""

    def __init__(self, stack: ExitStack, reloads: bool = True) -> None:
        self.workers = [Worker(0, stack), Worker(1, stack)]
        self.siblings = Siblings([worker.sibling() for worker in self.workers])
        self.silences = SharedSilences(self.siblings.each)
        server = WebServer(together(self.siblings, self.silences, reloads), port=0)
        server.start()
        stack.callback(server.stop)
        self.client = stack.enter_context(httpx.Client(base_url=server.url, timeout=20))

    def data(self, name: str) -> Any:
        return self.client.get(f"/api/v1/{name}").json()["data"]


@pytest.fixture
def both() -> Iterator[All]:
    with ExitStack() as stack:
        yield All(stack)


def until(true: Callable[[], bool], patience_s: float = 20) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "it did not come to that"


def test_a_silence_added_at_the_shared_address_holds_at_every_worker_under_one_id(both: All) -> None:
    made = both.client.post(SILENCES, json=BODY).json()["data"]
    assert "missing" not in made
    assert [worker.knows() for worker in both.workers] == [{made["id"]: "active"}] * 2
    (listed,) = both.data("silences")["silences"]
    assert listed == made
    assert both.client.delete(f"{SILENCES}/{made['id']}").json()["data"]["status"] == {"state": "expired"}
    assert [worker.knows() for worker in both.workers] == [{made["id"]: "expired"}] * 2
    again = both.client.delete(f"{SILENCES}/{made['id']}")
    assert (again.status_code, "over already" in again.json()["error"]) == (400, True)


def test_a_worker_that_was_down_hears_later_of_what_began_and_ended_meanwhile(both: All) -> None:
    first, second = both.workers
    old = both.client.post(SILENCES, json=BODY).json()["data"]["id"]
    first.up = False
    new = both.client.post(SILENCES, json=BODY).json()["data"]
    assert new["missing"] == [0]
    assert both.client.delete(f"{SILENCES}/{old}").json()["data"]["missing"] == [0]
    assert first.knows() == {old: "active"}
    first.up = True
    listed = both.data("silences")["silences"]
    assert [(each["id"], each["status"]["state"]) for each in listed] == [(new["id"], "active"), (old, "expired")]
    both.silences.spread()
    assert first.knows() == second.knows() == {new["id"]: "active", old: "expired"}


def test_where_no_worker_answers_nothing_is_silenced_and_that_is_said(both: All) -> None:
    for worker in both.workers:
        worker.up = False
    for said in (both.client.post(SILENCES, json=BODY), both.client.delete(f"{SILENCES}/abc")):
        assert (said.status_code, said.json()["errorType"]) == (503, "unavailable")
    assert both.data("silences") == {"silences": []}


def test_mistakes_are_told_as_a_single_heed_tells_them(both: All) -> None:
    page = {"origin": "http://evil"}
    for said, code, words in (
        (both.client.post(SILENCES, json={**BODY, "comment": ""}), 400, "comment is required"),
        (both.client.post(SILENCES, json=BODY, headers=page), 403, "pages in a browser"),
        (both.client.delete(f"{SILENCES}/x", headers=page), 403, "pages in a browser"),
        (both.client.post(SILENCES, content="{}"), 415, "application/json"),
        (both.client.delete(f"{SILENCES}/x"), 404, "no silence 'x'"),
        (both.client.get(f"{SILENCES}?limit=3"), 400, "unknown parameter"),
        (both.client.get("/api/v1/rules?type=x"), 400, "alert, record"),
        (both.client.get("/api/v1/streams?limi=3"), 400, 'unknown parameter "limi"; known here: limit, sort, group, q'),
        (both.client.get("/api/v1/streams?limit=0"), 400, "a whole number from 1 to 10000"),
        (both.client.get("/api/v1/coverage?sort=name"), 400, "known here: limit, group"),
        (both.client.get("/api/v1/history?limit=1"), 400, "none is known here"),
        (both.client.get("/api/v1/status?x=1"), 400, "none is known here"),
        (both.client.get("/api/v1/status/"), 404, "nothing is at /api/v1/status/"),
        (both.client.get("/nowhere"), 404, "nothing is at /nowhere"),
    ):
        assert (said.status_code, words in said.json()["error"]) == (code, True), said.text
    assert [worker.knows() for worker in both.workers] == [{}, {}]


def test_an_older_word_on_a_silence_changes_nothing_and_an_odd_one_is_refused(both: All) -> None:
    own = both.workers[0].sibling()
    made = both.client.post(SILENCES, json=BODY).json()["data"]
    both.client.delete(f"{SILENCES}/{made['id']}")
    said = own.send("PUT", f"{SILENCES[1:]}/{made['id']}", made)
    assert said is not None and said[0] == 200
    assert both.workers[0].knows() == {made["id"]: "expired"}
    for key, body in (("b" * 65, made), ("b", {**made, "endsAt": "2020-01-01T00:00:00Z"}), ("b", []),
                      ("b", {**made, "updatedAt": None}), ("b", {**made, "matchers": ["a=~.*"]})):  # fmt: skip
        said = own.send("PUT", f"{SILENCES[1:]}/{key}", body)
        assert said is not None and said[0] == 400
    assert set(both.workers[0].knows()) == {made["id"]}


def test_a_reload_goes_to_all_and_says_what_each_answered(both: All) -> None:
    said = both.client.post("/-/reload")
    assert (said.status_code, said.text) == (200, "worker 0: no rule changed\nworker 1: no rule changed\n")
    both.workers[1].reload_says = ConfigError.of("r.yaml:1:9: not that")
    said = both.client.post("/-/reload")
    assert said.status_code == 500
    assert "worker 0: no rule changed\nworker 1: r.yaml:1:9: not that" in said.text
    both.workers[0].up = False
    assert "worker 0: does not answer\n" in both.client.post("/-/reload").text
    assert both.client.post("/-/reload", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert both.client.get("/-/reload").status_code == 405


def test_without_the_flag_nobody_reloads_over_http() -> None:
    with ExitStack() as stack:
        said = All(stack, reloads=False).client.post("/-/reload")
    assert (said.status_code, "--enable-reload" in said.text) == (403, True)


def test_rules_of_all_stand_once_with_what_they_came_to_everywhere(both: All) -> None:
    high, low, odd = read_rules(RULES, "r.yaml")
    first, second = both.workers
    first.snapshot = Snapshot(rules=(Standing(high, 1, 0, 5, 2, 10 * SECOND), Standing(low)), alerts=(alert(),))
    second.snapshot = Snapshot(
        rules=(
            Standing(high, 0, 2, 7, 1, 10 * SECOND + 1), Standing(low, evaluated=SECOND), Standing(odd, 3, evaluated=1)
        ),
        alerts=(alert() | {"rule": "High"},),
    )  # fmt: skip

    def groups() -> list[Any]:
        found: list[Any] = both.data("rules")["groups"]
        return found

    end = both.workers[0].clock.now() + 20 * SECOND
    while len(groups()) < 2 and both.workers[0].clock.now() < end:
        pass
    g, h = groups()
    assert [(rule["name"], rule["state"], rule["health"]) for rule in g["rules"]] == [
        ("High", "firing", "ok"), ("Low", "inactive", "ok")
    ]  # fmt: skip
    told = g["rules"][0]
    assert [told[name] for name in ("pending", "firing", "evaluations", "unknown")] == [1, 2, 12, 3]
    assert told["lastEvaluation"] == "1970-01-01T00:00:10.000000001Z" == g["lastEvaluation"]
    assert [each["state"] for each in told["alerts"]] == ["firing"]
    assert [(rule["name"], rule["pending"]) for rule in h["rules"]] == [("Odd", 3)]
    assert both.data("rules?exclude_alerts=true")["groups"][0]["rules"][0]["alerts"] == []
    assert both.data("rules?type=record") == {"groups": []}


def test_alerts_of_all_are_listed(both: All) -> None:
    streams = table(4, outcome=np.full(4, FULL, np.int8))
    for worker in both.workers:
        worker.snapshot = Snapshot(alerts=(alert(f"s{worker.number}"),), streams=streams)
    end = both.workers[0].clock.now() + 20 * SECOND
    while both.data("alerts")["total"] < 2 and both.workers[0].clock.now() < end:
        pass
    assert [each["labels"]["stream"] for each in both.data("alerts")["alerts"]] == ["s0", "s1"]
    assert len(both.data("alerts?limit=1")["alerts"]) == 1


def test_streams_coverage_and_history_are_those_of_all_that_answer(both: All) -> None:
    first, second = both.workers
    left, right = table(3, names=["A&b", HOSTILE, "c"], groups=["g", "g", "h"]), table(2, names=["d", "e"])
    for each, streams in ((first, left), (second, right)):
        each.snapshot = Snapshot(streams=streams, time=SECOND, lag_now=each.number, judged=4)
    until(lambda: both.data("streams")["total"] == 5 and both.data("history")["lag"] == [1])
    said = both.client.get("/api/v1/streams?sort=name&limit=4")
    assert [row["stream"] for row in said.json()["data"]["streams"]] == [HOSTILE, "A&b", "c", "d"]
    assert said.headers["cache-control"] == "no-store"
    assert both.client.get("/metrics").headers["content-encoding"] == "gzip"
    assert [row["stream"] for row in both.data("streams?stream=A%26b")["streams"]] == ["A&b"], "as it is written"
    assert both.data("streams?q=a%26B&limit=1")["total"] == 1
    found = both.data("coverage?limit=1")
    assert (len(found["groups"]), found["total"], found["judged"]) == (1, 3, 8)
    assert [row["group"] for row in both.data("coverage?group=h")["groups"]] == ["h"]
    second.up = False
    assert (both.data("streams")["total"], both.data("coverage")["total"], both.data("history")["lag"]) == (3, 2, [0])
    assert both.client.get("/api/v1/status").json()["reasons"] == ["worker 1: is down"]


def test_the_page_shows_each_worker_and_leads_to_its_own(both: All) -> None:
    first, second = both.workers
    summary = {"readings": 9, "streams": 3, "late": 0, "guarantee_violations": 0, "windows": {"due": 3}}
    for each in (first, second):
        each.snapshot = replace(each.snapshot, summary=summary, lag_now=0.02)
    end = time.monotonic() + 10
    while (answer := both.client.get("/")).status_code != 200 or ">6</p>" not in answer.text:
        assert time.monotonic() < end, answer.text
    page = answer.text
    assert "2 of 2" in page
    assert "20 ms" in page
    assert all(f'href="{each.sibling().url}"' in page for each in (first, second))
    assert both.client.get("/page/heed.css").headers["content-type"].startswith("text/css")
    second.up = False
    page = both.client.get("/").text
    assert "1 of 2" in page
    assert '<span class="badge lost">down</span>' in page
    assert f'href="{second.sibling().url}"' not in page
