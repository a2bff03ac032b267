"""Groups at several workers are noticed by what each writes into its state folder, web server or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import structlog

from connectors.batch import SECOND, StreamTable
from stream.app.roster import EVERY, Roster, Spread, forget, listed
from stream.app.workers import COMPARE, _watching

ODD = "\ud800\n/ü"


class Told:
    """A worker's list and its streams."""

    def __init__(self, folder: Path, *groups: str) -> None:
        folder.mkdir()
        self.folder, self.table, self.now = folder, StreamTable(), SECOND * 1_000
        self.roster = Roster(folder, self.table)
        self.add(*groups)

    def add(self, *groups: str) -> None:
        for group in groups:
            self.table.slot(f"{self.folder.name}/{group}/{len(self.table)}", group)
        self.look()

    def look(self) -> None:
        self.now += EVERY
        self.roster.look(self.now)


def test_a_worker_writes_its_groups_now_and_then_and_only_what_is_new(tmp_path: Path) -> None:
    one = Told(tmp_path / "a", "g", ODD, "g")
    assert sorted(listed(one.folder)) == sorted(["g", ODD])
    one.table.slot("s", "h")
    one.roster.look(one.now + EVERY - 1)
    assert "h" not in listed(one.folder), "not yet"
    one.look()
    assert sorted(listed(one.folder)) == sorted(["g", ODD, "h"])
    one.table.release(np.arange(len(one.table)))
    one.look()
    assert listed(one.folder) == []
    (one.folder / "groups.json").unlink()
    one.look()
    assert [*one.folder.iterdir()] == [], "nothing changed, nothing is written"


def test_what_cannot_be_written_or_read_stops_nobody(tmp_path: Path) -> None:
    one = Told(tmp_path / "a")
    (one.folder / "groups.new").mkdir()
    one.add("g")
    assert listed(one.folder) == []
    (one.folder / "groups.new").rmdir()
    one.look()
    assert listed(one.folder) == ["g"]
    for text in ("", "[", "3"):
        (one.folder / "groups.json").write_text(text)
        assert listed(one.folder) == []
    forget(one.folder)
    forget(one.folder)
    assert listed(one.folder) == listed(tmp_path / "nowhere") == []


def test_groups_at_two_workers_are_found_when_it_stays_so(tmp_path: Path) -> None:
    first, second = Told(tmp_path / "a", "g", "h"), Told(tmp_path / "b", "h", "i", "h")
    up = [first.folder, second.folder]
    spread = Spread(lambda: up)
    assert [spread.look(), spread.look(), spread.look()] == [[], ["h"], ["h"]]
    second.add("g")
    assert [spread.look(), spread.look()] == [["h"], ["g", "h"]]
    up.pop()
    assert spread.look() == [], "a worker that is down has none"
    assert spread.groups == Spread().look() == []


def test_it_is_said_once_when_it_comes_about_and_once_when_it_is_over(tmp_path: Path) -> None:
    folders = [Told(tmp_path / name, "g").folder for name in "ab"]
    watch = _watching(Spread(lambda: folders), None)
    with structlog.testing.capture_logs() as said:
        for turn in range(1, 5):
            watch(turn * COMPARE)
        forget(folders[0])
        for turn in range(5, 8):
            watch(turn * COMPARE)
    assert [(line["event"], line["groups"], line["examples"]) for line in said] == [
        ("group.spread", 1, ["g"]), ("group.spread", 0, [])
    ]  # fmt: skip
    assert json.loads((folders[1] / "groups.json").read_text()) == ["g"]
