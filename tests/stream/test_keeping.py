"""What a keeper sends where: alert changes to sinks, never to receivers, and what was given up is told."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from listening import eventually
from monitor_feed import Run, noise

from connectors.keeping.handover import GONE
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from connectors.sink import SinkError
from stream.log import setup
from stream.loop import Progress
from stream.state import Durable, Passing

SECOND = 1_000_000_000


class Picky:
    """Takes what it likes, and will never take the rest."""

    def __init__(self, name: str = "picky", bad: Sequence[int] = ()) -> None:
        self.name, self.got, self._bad = name, list[Any](), bad

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        for done, message in enumerate(messages):
            if message["n"] in self._bad:
                raise SinkError("not that", "refused", sent=done, tries=1)
            self.got.append(message["n"])

    def close(self) -> None:
        pass


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    setup("json", "info", stream)
    yield stream
    structlog.reset_defaults()


def lines(log: io.StringIO, name: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == name]


def test_alert_changes_go_to_sinks_and_not_to_receivers() -> None:
    sinks = {name: Picky(name) for name in ("jsonl", "receiver/oncall", "receiver/both/email")}
    keeper = Passing(Outbox(sinks))
    keeper.commit(0, [{"n": 1}, {"n": 2}], Progress(), True)
    keeper.close(0, Progress())
    assert {name: sink.got for name, sink in sinks.items()} == {
        "jsonl": [1, 2], "receiver/oncall": [], "receiver/both/email": [],
    }  # fmt: skip


def test_what_was_given_up_is_said_once_a_commit_and_kept(tmp_path: Path, log: io.StringIO) -> None:
    run = Run(noise(5, 2), ["a", "a"])
    outbox, store = Outbox({"picky": Picky(bad=range(1, 4))}), Store(tmp_path)
    keeper = Durable(store, run.monitor, run.world.partitions, outbox, SECOND, 300 * SECOND)
    keeper.restore()
    keeper.commit(SECOND, [{"n": n} for n in range(5)], Progress({"p": 0}, {"p": 1}), True)
    keeper.close(2 * SECOND, Progress({"p": 0}, {"p": 1}))
    told = lines(log, "notification.abandoned")
    assert sum(line["messages"] for line in told) == 3
    assert {(line["name"], line["problem"]) for line in told} == {("picky", "not that")}
    again = Store(tmp_path)
    with again.shelf() as shelf:
        assert [message["n"] for *_, message in shelf.dead()] == [1, 2, 3]
    assert again.outbox() == []
    again.close()


def test_what_waits_for_a_sink_that_is_configured_no_longer_is_said_and_kept(tmp_path: Path, log: io.StringIO) -> None:
    class Stuck(Picky):
        def send(self, messages: Sequence[Mapping[str, object]]) -> None:
            raise SinkError("away")

    for sinks in ({"old": Stuck("old")}, {"new": Picky("new")}):
        run, store = Run(noise(5, 2), ["a", "a"]), Store(tmp_path)
        outbox = Outbox(sinks)
        keeper = Durable(store, run.monitor, run.world.partitions, outbox, SECOND, 300 * SECOND)
        keeper.restore()
        keeper.commit(SECOND, [{"n": 1}] if "old" in sinks else [], Progress({"p": 0}, {"p": 1}), True)
        outbox.close(0.05)
        keeper.close(2 * SECOND, Progress({"p": 0}, {"p": 1}))
    assert [(line["name"], line["messages"]) for line in lines(log, "notification.abandoned")] == [("old", 1)]
    store = Store(tmp_path)
    assert store.outbox() == []
    store.close()


def test_what_waits_for_a_sink_that_is_taken_away_is_said_and_kept_and_what_it_took_last_is_not(
    tmp_path: Path, log: io.StringIO
) -> None:
    gate, under_way = threading.Event(), threading.Event()

    class Slow(Picky):
        def send(self, messages: Sequence[Mapping[str, object]]) -> None:
            under_way.set()
            gate.wait(20)
            super().send(messages)

    run, store, old, new = Run(noise(5, 2), ["a", "a"]), Store(tmp_path), Slow("old"), Picky("new")
    outbox, progress = Outbox({"receiver/old": old}), Progress({"p": 0}, {"p": 1})
    keeper = Durable(store, run.monitor, run.world.partitions, outbox, SECOND, 300 * SECOND)
    keeper.restore()

    def commit(*numbers: int, to: str = "receiver/old") -> None:
        keeper.commit(SECOND, [], progress, True, [(to, {"n": n}) for n in numbers])

    commit(1)
    assert under_way.wait(20)
    commit(2, 3)
    outbox.exchange({"receiver/new": new}, ["receiver/old"])
    keeper.readdress()
    commit(4, to="receiver/new")
    assert lines(log, "notification.abandoned") == [], "its last try has not ended"
    gate.set()

    def settled() -> bool:
        commit()
        return bool(lines(log, "notification.abandoned")) and store.outbox() == []

    assert eventually(settled)
    assert (old.got, new.got) == ([1], [4])
    assert [(line["name"], line["messages"]) for line in lines(log, "notification.abandoned")] == [("receiver/old", 2)]
    with store.shelf() as shelf:
        assert [(message["n"], reason) for _, _, reason, message in shelf.dead()] == [(2, GONE), (3, GONE)]
    commit()
    keeper.close(2 * SECOND, progress)
    assert len(lines(log, "notification.abandoned")) == 1
