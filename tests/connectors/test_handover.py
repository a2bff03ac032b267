"""What waits on disk: bounded memory, bounded disk, in order, and an hour without a receiver."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import AlertmanagerProcess, WebServer, eventually, free_port, notification

from connectors.keeping import handover as handover_module
from connectors.keeping import outbox as outbox_module
from connectors.keeping.handover import Handover
from connectors.keeping.outbox import MOST_WAITING, Outbox
from connectors.keeping.store import Commit, Store
from connectors.receivers.alertmanager import AlertmanagerSink
from connectors.receivers.http_post import HttpOptions, HttpPoster
from connectors.receivers.webhook import WebhookSink
from connectors.sink import Sink, SinkError

SECOND = 1_000_000_000


class Gated:
    """A sink that takes nothing until it is opened."""

    name = "gated"

    def __init__(self, trouble: Callable[[Any], None] = lambda message: None) -> None:
        self.open = threading.Event()
        self.got: list[Any] = []
        self._trouble = trouble

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        if not self.open.wait(20):
            raise SinkError("shut")
        for done, message in enumerate(messages):
            try:
                self._trouble(message)
            except SinkError as error:
                error.sent = done
                raise
            self.got.append(message)

    def close(self) -> None:
        self.open.set()


class Committing:
    """What stream/state.py does with a store and an outbox, a commit a second."""

    def __init__(self, folder: Path, sinks: Mapping[str, Sink], most: tuple[int, int] = (10_000, 64 << 20)) -> None:
        self.store = Store(folder)
        self.outbox = Outbox(sinks, [name for name in sinks if name.startswith("receiver/")])
        self.handover = Handover(self.store, self.outbox, *most)
        self.handover.after(sinks)
        self.now = 0

    def commit(self, messages: Sequence[Mapping[str, object]] = (), sinks: Sequence[str] = ()) -> None:
        self.now += SECOND
        send = [(sink, message) for message in messages for sink in sinks or self.outbox.sinks]
        dead = [(number, why) for number, _, why in self.outbox.take_dead()]
        full = self.handover.full(send)
        self.store.commit(Commit(send=send, sent=self.outbox.take_sent(), dead=dead, full=full, time=self.now))
        self.handover.after([sink for sink, _ in send])
        self.handover.look()

    def drained(self, name: str, seconds: float = 60.0) -> bool:
        def empty() -> bool:
            self.commit()
            return self.outbox.counts()[name].waiting == 0

        return eventually(empty, seconds)

    def close(self) -> None:
        self.outbox.close(0.05)
        self.store.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(outbox_module, "LONGEST_PAUSE_S", 0.2)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Committing]]:
    made: list[Committing] = []

    def make(sinks: Mapping[str, Sink], **how: Any) -> Committing:
        made.append(Committing(tmp_path / "state", sinks, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def alert(key: int, start: int, status: str) -> dict[str, Any]:
    return {"fingerprint": f"f{key}", "starts_at": start, "status": status}


def test_more_than_fits_in_memory_waits_on_disk_and_comes_in_order(opened: Callable[..., Committing]) -> None:
    sink = Gated()
    run = opened({"sink": sink})
    for start in range(0, 5000, 500):
        run.commit([{"n": n} for n in range(start, start + 500)])
    found = run.outbox.counts()["sink"]
    assert found.waiting == 5000
    assert run.outbox.room("sink")[0] == 0
    assert found.oldest == SECOND
    sink.open.set()
    assert run.drained("sink")
    assert [message["n"] for message in sink.got] == list(range(5000))
    run.commit()
    assert run.store.outbox() == []


def test_memory_is_bounded_by_size_too(opened: Callable[..., Committing]) -> None:
    sink = Gated()
    run = opened({"sink": sink})
    run.commit([{"n": n, "text": "x" * (1 << 20)} for n in range(30)])
    assert run.outbox.room("sink")[1] <= 0 < run.outbox.room("sink")[0]
    assert run.outbox.counts()["sink"].waiting == 30
    sink.open.set()
    assert run.drained("sink")
    assert [message["n"] for message in sink.got] == list(range(30))


def test_what_waits_is_there_after_a_restart_in_order(opened: Callable[..., Committing]) -> None:
    first = Gated(lambda message: SinkError)
    run = opened({"sink": first})
    for start in range(0, 3000, 1000):
        run.commit([{"n": n} for n in range(start, start + 1000)])
    run.outbox._couriers["sink"]._stop_now.set()  # as after a kill: nothing of it was sent
    run.store.close()
    again = Gated()
    again.open.set()
    run = opened({"sink": again})
    assert run.drained("sink")
    assert [message["n"] for message in again.got] == list(range(3000))


def test_when_too_much_waits_what_says_the_same_is_left_out(opened: Callable[..., Committing]) -> None:
    sink = Gated()
    run = opened({"sink": sink}, most=(1000, 1 << 30))
    told = [alert(key, turn, status) for turn in range(500) for status in ("firing", "resolved") for key in range(10)]
    for start in range(0, len(told), 100):
        run.commit(told[start : start + 100])
    found = run.outbox.counts()["sink"]
    assert found.waiting <= MOST_WAITING + 1000 + 100 + 4 * 10
    assert found.waiting + found.merged == len(told)
    sink.open.set()
    assert run.drained("sink")
    believed = {(m["fingerprint"], m["starts_at"]): m["status"] for m in sink.got}
    assert set(believed.values()) == {"resolved"}, "none is left half told"
    assert all(believed[f"f{key}", turn] == "resolved" for key in range(10) for turn in (0, 499))


def test_too_many_bytes_are_too_much_as_well(opened: Callable[..., Committing]) -> None:
    sink = Gated()
    run = opened({"sink": sink}, most=(10**6, 200_000))
    for turn in range(4000):
        run.commit([{**alert(0, turn, "firing"), "text": "x" * 1000}])
    assert run.outbox.counts()["sink"].waiting < MOST_WAITING + 200 + 100


def test_what_was_given_up_is_kept_with_the_reason_and_out_of_the_way(opened: Callable[..., Committing]) -> None:
    def trouble(message: Any) -> None:
        if message["n"] == 2:
            raise SinkError("2 is odd", "refused", sent=0, tries=1)

    sink = Gated(trouble)
    sink.open.set()
    run = opened({"sink": sink})
    for n in range(4):
        run.commit([{"n": n}])
    assert run.drained("sink")
    run.commit()
    assert run.store.outbox() == []
    with run.store.shelf() as shelf:
        assert [(name, why, message["n"]) for _, name, why, message in shelf.dead()] == [("sink", "2 is odd", 2)]
    assert [message["n"] for message in sink.got] == [0, 1, 3]


def test_what_waits_for_a_sink_that_is_gone_is_named(opened: Callable[..., Committing]) -> None:
    run = opened({"old": Gated(), "kept": Gated()})
    run.commit([{"n": 1}])
    run.close()
    run = opened({"kept": Gated()})
    gone = run.handover.orphans()
    assert [(name, why) for _, name, why in gone] == [("old", "no sink has this name any more")]
    run.store.commit(Commit(dead=[(number, why) for number, _, why in gone]))
    assert run.handover.orphans() == []
    assert [each.sink for each in run.store.outbox()] == ["kept"]


def test_an_outbox_of_an_older_heed_is_taken_over(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.executescript(
            "DROP TABLE outbox; DROP TABLE dead;"
            "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, message TEXT NOT NULL);"
            "INSERT INTO outbox (sink, message) VALUES ('sink', '{\"n\": 7}');"
        )
    db.close()
    store = Store(tmp_path)
    assert [(each.sink, each.message) for each in store.outbox()] == [("sink", {"n": 7})]
    store.close()


# --- an hour without a receiver


ALERTS = 4  # of an incident


def hour(seed: int, incidents: int, seconds: int) -> Iterator[list[dict[str, Any]]]:
    """Notifications of each second: incidents whose alerts come and go."""
    chance = np.random.default_rng(seed)
    firing: list[set[int]] = [set() for _ in range(incidents)]
    for _ in range(seconds):
        told = []
        for i in chance.integers(0, incidents, 2).tolist():
            turned = set(chance.integers(0, ALERTS, 2).tolist())
            before, firing[i] = firing[i], firing[i] ^ turned
            told.append(of_incident(i, firing[i], before - firing[i]))
        yield told


def of_incident(i: int, firing: set[int], over: set[int]) -> dict[str, Any]:
    """The notification of an incident: these alerts fire, those are over."""
    all_alerts = {status: notification(i, status, ALERTS)["alerts"] for status in ("firing", "resolved")}
    alerts = [all_alerts["firing"][n] for n in sorted(firing)] + [all_alerts["resolved"][n] for n in sorted(over)]
    return {**notification(i, "firing" if firing else "resolved"), "alerts": alerts}


def resident() -> int:
    """Memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_after_an_hour_without_a_receiver_nothing_is_lost_memory_is_flat_and_there_is_no_flood(
    opened: Callable[..., Committing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "LONGEST_PAUSE_S", 1.0)
    port, seconds = free_port(), 3600
    urls = [f"http://127.0.0.1:{port}"]
    sinks: dict[str, Sink] = {
        "receiver/am": AlertmanagerSink(urls, HttpPoster(HttpOptions(timeout_s=2))),
        "receiver/hook": WebhookSink(lambda: f"{urls[0]}/hook", HttpPoster(HttpOptions(timeout_s=2))),
    }
    run = opened(sinks, most=(1000, 64 << 20))
    last: dict[str, str] = {}
    fired: set[str] = set()
    memory = []
    for second, told in enumerate(hour(0, 150, seconds)):
        run.commit(told)
        for each in told:
            last |= {alert["fingerprint"]: alert["status"] for alert in each["alerts"]}
            fired |= {alert["fingerprint"] for alert in each["alerts"] if alert["status"] == "firing"}
        if second % 600 == 599:
            memory.append(resident() >> 20)
    sent = 2 * seconds
    assert all(each.failed["unreachable"] > 0 for each in run.outbox.counts().values())
    assert memory[-1] - memory[1] < 24, f"MiB, every ten minutes: {memory}"

    server = WebServer(port=port)
    try:
        assert run.drained("receiver/am") and run.drained("receiver/hook")
    finally:
        server.close()
    by_path = {path: [post.json for post in server.posts if post.path == path] for path in ("/api/v2/alerts", "/hook")}
    posted, hooked = by_path["/api/v2/alerts"], by_path["/hook"]
    for found in (hooked, posted):
        assert len(found) < sent / 8, "not all that has been, but how things are"
    believed: dict[str, str] = {}
    for each in hooked:
        believed |= {alert["fingerprint"]: alert["status"] for alert in each["alerts"]}
    assert believed == last
    assert {f"{a['labels']['group']}-{a['labels']['stream'][-1]}" for each in posted for a in each} == fired
    assert max(len(each) for each in posted) <= 256
    counts = run.outbox.counts()["receiver/hook"]
    assert counts.delivered == len(hooked)
    assert counts.delivered + counts.merged == sent
    assert counts.dead == 0


def test_a_real_alertmanager_that_was_away_ends_up_with_what_is_true(
    opened: Callable[..., Committing], tmp_path: Path
) -> None:
    hook = WebServer()
    server = AlertmanagerProcess(tmp_path / "am", hook.url)
    run = opened(
        {"receiver/am": AlertmanagerSink([server.url], HttpPoster(HttpOptions(timeout_s=5)))}, most=(200, 1 << 30)
    )
    last: dict[str, str] = {}
    try:
        for told in hour(1, 40, 700):
            run.commit(told)
            for each in told:
                last |= {alert["labels"]["stream"]: alert["status"] for alert in each["alerts"]}
        server.start()
        assert run.drained("receiver/am")
        true = {stream for stream, status in last.items() if status == "firing"}
        assert {each["labels"]["stream"] for each in server.get("alerts")} == true
    finally:
        server.stop()
        hook.close()


# --- whatever happens, in any order


class Moody:
    """A sink that does what ``mood`` says: take, fail, or fail half way; it never takes a number that 13 divides."""

    name = "moody"

    def __init__(self) -> None:
        self.mood, self.got = "take", list[Any]()

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        for done, message in enumerate(messages):
            if self.mood == "fail" or (self.mood == "half" and done >= 1):
                raise SinkError("not now", sent=done)
            if int(str(message["n"])) % 13 == 12:
                raise SinkError("never", "refused", sent=done, tries=1)
            self.got.append(message["n"])

    def close(self) -> None:
        pass


STEPS = st.lists(st.sampled_from(["put", "put", "put 9", "take", "fail", "half", "kill"]), max_size=25)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_over_failures_and_kills_all_is_delivered_or_given_up_and_in_order(steps: list[str]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "MOST_WAITING", 6)
        patch.setattr(outbox_module, "FIRST_PAUSE_S", 0.001)
        patch.setattr(outbox_module, "LONGEST_PAUSE_S", 0.005)
        patch.setattr(handover_module, "ENOUGH", 1)
        sink, put = Moody(), 0
        run = Committing(Path(folder), {"moody": sink})
        for step in steps:
            if step.startswith("put"):
                count = int(step[4:] or 1)
                run.commit([{"n": n} for n in range(put, put + count)])
                put += count
            elif step == "kill":
                run.close()
                run = Committing(Path(folder), {"moody": sink})
            else:
                sink.mood = step
        sink.mood = "take"
        assert run.drained("moody")
        run.commit()
        with run.store.shelf() as shelf:
            dead = [message["n"] for *_, message in shelf.dead()]
            assert shelf.all() == []
        run.close()
    assert dead == [n for n in range(put) if n % 13 == 12]
    first_told = list(dict.fromkeys(sink.got))
    assert first_told == [n for n in range(put) if n % 13 != 12], "in order, but for what was told twice"
