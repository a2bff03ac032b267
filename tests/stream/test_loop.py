"""The loop: one turn after the other, what each leaves behind, and what is kept when a turn breaks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monitor_feed import START, Plain, Run, noise

from connectors.batch import SECOND, Batch, empty
from connectors.keeping.store import Commit, Store, StoreError
from stream.loop import Loop, Progress


class Watch:
    """A recorder, a keeper and a hook that note when they were called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def turn(self, now: int, batch: Batch) -> None:
        self.calls.append(("recorded", now))

    def commit(self, now: int, messages: list[Any], progress: Progress, urgent: bool, notices: Any = ()) -> None:
        assert urgent == bool(messages)
        assert not notices
        self.calls.append(("committed", now))

    def hook(self, now: int) -> None:
        self.calls.append(("shown", now))


def test_every_turn_is_recorded_then_judged_then_committed_then_shown() -> None:
    run, watch = Run(noise(120, 2), ["g"] * 2, Plain()), Watch()
    loop = Loop(
        run.monitor, run.source, run.clock, run.world.partitions, watch, lambda told: {}, SECOND // 4, watch,
        (watch.hook,),
    )  # fmt: skip
    loop.run()
    assert len(watch.calls) == 3 * loop.turns
    for i in range(0, len(watch.calls), 3):
        names, times = zip(*watch.calls[i : i + 3], strict=True)
        assert names == ("recorded", "committed", "shown")
        assert len(set(times)) == 1, "one `now` a turn"
    waits = np.diff([now for name, now in watch.calls if name == "shown"])
    assert waits.max() <= SECOND // 4, "a poll waits no longer than it is told to"


def test_it_stops_between_turns_when_asked_to() -> None:
    run = Run(noise(120, 2), ["g"] * 2, Plain())
    run.loop.run(lambda: run.loop.turns >= 7)
    assert run.loop.turns == 7
    assert not run.source.done
    assert not run.loop.midway


def test_progress_knows_where_each_partition_began_and_goes_on() -> None:
    progress = Progress()
    one = Batch(
        np.zeros(2, np.int32), np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2),
        np.ones(2, np.int32), np.array([41, 42]), {1: 43},
    )  # fmt: skip
    progress.note(one, ["a/0", "a/1"])
    progress.note(empty(positions={0: 7, 1: 50}), ["a/0", "a/1"])
    assert progress.starts == {"a/1": 41, "a/0": 7}
    assert progress.positions == {"a/1": 50, "a/0": 7}


class Faulty(Store):
    """A store whose disk is full for a while."""

    full = False
    refused = 0

    def commit(self, what: Commit) -> list[int]:
        if self.full:
            self.refused += 1
            raise StoreError("no space left")
        return super().commit(what)

    def checkpoint(self, columns: Mapping[str, Any], about: Mapping[str, object]) -> None:
        assert not self.full, "a checkpoint ahead of what is committed would lose windows"
        super().checkpoint(columns, about)


def faulty(folder: Path, values: Any, now: int = START) -> Run:
    made: list[Faulty] = []

    def make(path: Path) -> Faulty:
        made.append(Faulty(path))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monitor_feed.Store", make)
        return Run(values, ["g"] * 3, Plain(), folder=folder, now=now)


def test_while_the_disk_is_full_nothing_is_sent_and_afterwards_everything_is(tmp_path: Path) -> None:
    values = noise(260, 3)
    values[150:160, 0] += 60
    whole = Run(values, ["g"] * 3, Plain(), folder=tmp_path / "whole").all()
    run = faulty(tmp_path / "faulty", values)
    run.store.full = True  # type: ignore[attr-defined]  # from the very first turn
    while run.clock.now() < START + 200 * SECOND:
        run.loop.turn()
    assert run.store.refused > 10  # type: ignore[attr-defined]
    assert run.sink.messages == []
    run.store.full = False  # type: ignore[attr-defined]
    for _ in range(20):
        run.loop.turn()
    assert run.store.start_positions() == {"feed/0": 0}
    run.all()
    assert [m["id"] for m in run.sink.messages] == [m["id"] for m in whole.sink.messages] != []
    assert run.windows == whole.windows


def test_what_was_refused_by_the_disk_is_read_again_after_a_kill(tmp_path: Path) -> None:
    values = noise(260, 3, gaps=0.1)
    values[150:160, 0] += 60
    whole = Run(values, ["g"] * 3, Plain(), folder=tmp_path / "whole").all()
    run = faulty(tmp_path / "faulty", values)
    while run.clock.now() < START + 120 * SECOND:
        run.loop.turn()
    run.store.full = True  # type: ignore[attr-defined]
    run.some(60)
    again = faulty(tmp_path / "faulty", values, run.clock.now()).all()
    assert again.windows == whole.windows
    told = {(m["id"], m["status"]) for m in run.sink.messages + again.sink.messages}
    assert told == {(m["id"], m["status"]) for m in whole.sink.messages}


def test_a_turn_that_breaks_in_the_middle_leaves_what_was_committed_before(tmp_path: Path) -> None:
    values = noise(220, 3, gaps=0.1)
    whole = Run(values, ["g"] * 3, Plain(), folder=tmp_path / "whole").all()
    run = Run(values, ["g"] * 3, Plain(), folder=tmp_path / "broken")

    def bug(verdicts: Any) -> None:
        if verdicts.tick.start >= START + 140 * SECOND:
            raise RuntimeError("a bug")

    run.monitor.observers.append(bug)
    with pytest.raises(RuntimeError, match="a bug"):
        run.loop.run()
    assert run.loop.midway
    run.keeper.close(run.clock.now(), run.loop.progress, not run.loop.midway)
    again = Run(values, ["g"] * 3, Plain(), folder=tmp_path / "broken", now=run.clock.now()).all()
    assert again.windows == whole.windows
    assert again.monitor.parts.windows.counts == whole.monitor.parts.windows.counts
