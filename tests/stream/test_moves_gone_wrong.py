"""Partitions that move where something is in the way: what can't be taken up, what is lost before it could be kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_parcel import START, made
from test_shared import URL, Group, Process, key

from connectors.batch import SECOND
from connectors.keeping.store import packed, unpacked
from stream.settings import Settings, from_mapping

HALF = 130  # steps
BUSY = """
groups:
- name: all
  rules:
  - {alert: Busy, expr: 'value > 100.5'}
  - {alert: BusyGroup, expr: 'group_max(value) > 100.5'}
"""


def run(group: Group, begin: int, end: int) -> None:
    for step in range(begin, end):
        group.turn(START + step * SECOND)


def left_behind(folder: Path, partitions: int = 2) -> Group:
    """A group whose one process has stopped in order; the state of its partitions is in the topic."""
    group = Group(folder, made(3, partitions=partitions))
    first = group.start("a", START)
    for partition in range(partitions):
        first.source.gain(f"topic/{partition}")
    run(group, 0, HALF)
    group.end()
    group.now.clear()
    return group


def damaged(piece: bytes, part: str) -> bytes:
    columns, about = unpacked(piece, "x")
    return packed({name: column for name, column in columns.items() if not name.startswith(part)}, about)


def gained(group: Group, own: Settings | None = None, limit: int = 100) -> Process:
    if own is not None:
        group._own = own
    process = group.start("b", START + HALF * SECOND)
    process.world.table.limit = limit
    for name in group.brokers.pieces:
        process.source.gain(name)
    return process


def test_more_streams_than_there_is_room_for_begin_anew_as_far_as_there_is(tmp_path: Path) -> None:
    group = left_behind(tmp_path)
    process = gained(group, limit=9)
    run(group, HALF, HALF + 20)
    names = [name for name in process.world.table.names if name]
    assert len(names) == 9
    assert sum(name.startswith("p0") for name in names) == 6, "those that came first came whole"
    assert np.all(process.monitor.parts.windows.lane[: len(names)] >= 0)
    group.end()


@pytest.mark.parametrize("update", [{"windows": {"size": 32}}, {"evidence": "lean"}])
def test_a_state_of_other_settings_is_not_taken_up_and_nothing_is_left_of_it(
    tmp_path: Path, update: dict[str, Any]
) -> None:
    group = left_behind(tmp_path)
    nested = {
        key: getattr(group._own, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in update.items()
    }
    process = gained(group, group._own.model_copy(update=nested))
    assert process.world.table.slot_of == {}
    assert process.source.positions == {"topic/0": 0, "topic/1": 0}
    run(group, HALF, HALF + 20)
    assert len(process.world.table.slot_of) == 12
    group.end()


@pytest.mark.parametrize("part", ["windows.slot.lane", "windows.closed", "sentinel.", "rules.0.k", "windows.marks"])
def test_a_large_piece_that_lacks_something_begins_anew(tmp_path: Path, part: str) -> None:
    group = left_behind(tmp_path)
    group.brokers.pieces["topic/0"]["large"] = damaged(group.brokers.pieces["topic/0"]["large"], part)
    process = gained(group)
    run(group, HALF, HALF + 20)
    assert len(process.world.table.slot_of) == 12
    group.end()


@pytest.mark.parametrize("part", ["ledger", "since"])
def test_a_small_piece_that_lacks_something_begins_anew(tmp_path: Path, part: str) -> None:
    group = left_behind(tmp_path)
    group.brokers.pieces["topic/0"]["small"] = damaged(group.brokers.pieces["topic/0"]["small"], part)
    process = gained(group)
    assert all(name.startswith("p1") for name in process.world.table.slot_of)
    run(group, HALF, HALF + 20)
    assert len(process.world.table.slot_of) == 12
    group.end()


def test_nothing_is_sent_of_a_partition_that_was_taken_and_has_not_left_yet(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=2))
    process = group.start("a", START)
    process.source.gain("topic/0")
    process.source.gain("topic/1")
    group.brokers.owner["topic/0"] = "b"
    process.keeper._member = lambda: ("a", {"topic/1": ""})
    run(group, 0, 260)
    group.end()
    told = [each["labels"] for each in group.brokers.alerts + group.sent("lines")]
    told += [
        each["labels"] for said in group.sent("receiver/people") + group.sent("receiver/am") for each in said["alerts"]
    ]
    assert {each["group"][:2] for each in told} == {"p1"}


def test_a_process_that_has_nothing_any_more_sends_nothing(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=1))
    process = group.start("a", START)
    process.keeper._topics = {}
    process.source.gain("topic/0")
    process.keeper._member = lambda: ("a", {})
    run(group, 0, 260)
    assert process.monitor.parts.ledger.total.sum() > 100
    process.keeper._member = process.source.standing
    assert not any(group.sent(sink) for sink in ("kafka", "lines", "receiver/people", "receiver/am"))
    run(group, 260, 270)
    group.end()
    assert len(group.sent("lines")) > 10, "it was its own after all"


def test_what_is_left_to_tell_of_a_storm_is_told_by_whoever_has_the_partition_then(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=2))
    first, second = group.start("a", START, most=1), group.start("b", START)
    first.source.gain("topic/0")
    first.source.gain("topic/1")
    step = 0
    while sum(told.change.group.startswith("p0") for told in first.loop._untold) < 2:
        first.turn(START + step * SECOND)
        step += 1
    first.source.lose(["topic/0"])
    assert not any(told.change.group.startswith("p0") for told in first.loop._untold)
    second.clock.wait(first.clock.now())
    second.source.gain("topic/0")
    run(group, step, 280)
    group.end()
    told = Counter(map(key, group.brokers.alerts))
    assert len(told) > 20
    assert set(told.values()) == {1}


def test_what_rules_look_back_at_does_not_grow_with_each_move(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=3))
    slower = from_mapping({"sources": [{"type": "stdin"}], "streams": [{"match": "p1*", "step": "2s"}]}).streams
    group._own = group._own.model_copy(update={"streams": slower})
    sizes, step = [], 60
    process = group.start("a", START)
    for partition in range(3):
        process.source.gain(f"topic/{partition}")
    run(group, 0, step)
    group.end()
    for life in range(5):
        process = group.start(f"a{life}", START + step * SECOND)
        for name in ("topic/0", "topic/2"):  # p1 has gone elsewhere, and with it all streams of its raster
            process.source.gain(name)
        run(group, step, step + 3)
        step += 3
        group.end()
        group.now.clear()
        sizes.append(len(group.brokers.pieces["topic/0"]["large"]))
    assert max(sizes) <= min(sizes) + 100


@pytest.mark.parametrize("name", ["/t", "/s"])
def test_a_group_or_stream_of_two_partitions_is_one_alert_where_both_come_together(tmp_path: Path, name: str) -> None:
    topic = made(3, partitions=2)
    topic.stream[1] = [each.replace("p1", "p0").replace("/s", name) for each in topic.stream[1]]
    group = Group(tmp_path, topic)
    (tmp_path / "rules.yaml").write_text(BUSY)
    first, second = group.start("a", START), group.start("b", START)
    first.source.gain("topic/0")
    second.source.gain("topic/1")
    for step in range(0, 200, 5):
        run(group, step, step + 5)
        giver, taker = (first, second) if step % 2 else (second, first)
        for moved in list(giver.source.positions):
            giver.source.lose([moved])
            taker.source.gain(moved)
        for process in (first, second):
            fire = [change.fingerprint for change in process.monitor.firing()]
            assert len(fire) == len(set(fire))
    group.end()
    assert len(group.brokers.alerts) > 20


def about(group: Group) -> dict[str, Any]:
    return unpacked(group.brokers.pieces["topic/0"]["small"], "x")[1]


def young(folder: Path) -> Group:
    """A group whose alerts fire, and whose streams are not in any large piece yet."""
    group = Group(folder, made(3, partitions=1))
    (folder / "rules.yaml").write_text(BUSY)
    group.start("a", START).source.gain("topic/0")
    step = 0
    while not any("of_group" in row and row["state"] == "firing" for row in (about(group)["alerts"] if step else ())):
        step += 1
        group.now["a"].turn(START + step * SECOND)
        group.now["a"].keeper.commit(START + step * SECOND, [], group.now["a"].loop.progress, urgent=True)
    group.brokers.pieces["topic/0"].pop("large")
    group.kill("a")
    return group


def test_what_waits_for_its_streams_travels_on_with_its_groups(tmp_path: Path) -> None:
    group = young(tmp_path)
    before = about(group)
    process = group.start("b", START)
    process.source.gain("topic/0")
    process.keeper.commit(START, [], process.loop.progress, urgent=True)
    after = about(group)
    for what in ("names", "groups", "incidents"):
        assert sorted(map(str, after[what])) == sorted(map(str, before[what])), what
    assert sorted(map(str, after["alerts"])) == sorted(map(str, before["alerts"]))
    assert after["told"] == before["told"]
    group.end()


def test_what_waits_for_its_streams_leaves_with_its_partition(tmp_path: Path) -> None:
    group = young(tmp_path)
    process = group.start("b", START)
    process.source.gain("topic/0")
    assert process.monitor.firing()
    assert len(process.monitor.parts.incidents) > 0
    process.source.lose(["topic/0"])
    assert process.monitor.firing() == []
    assert len(process.monitor.parts.incidents) == 0
    assert not process.monitor.awaited
    group.end()


def test_of_a_notification_that_waits_only_what_left_is_dropped(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=2))
    (tmp_path / "rules.yaml").write_text(BUSY)
    route = from_mapping(
        {"sources": [{"type": "stdin"}], "receivers": [{"name": "people", "webhook": URL}],
         "route": {"receiver": "people", "group_by": ["alertname"], "group_wait": "1s", "repeat_interval": "1h"}}
    )  # fmt: skip
    group._own = group._own.model_copy(update={"route": route.route})
    process = group.start("a", START)
    process.source.gain("topic/0")
    process.source.gain("topic/1")
    step = 0
    while not any({"p0", "p1"} <= parts_of(said) for _, said in process.keeper._unsent):
        group.brokers.away = step > 2
        run(group, step, step + 1)
        step += 1
    waits = [said for _, said in process.keeper._unsent if {"p0", "p1"} <= parts_of(said)]
    process.source.lose(["topic/0"])
    group.brokers.away = False
    run(group, step, step + 3)
    group.end()
    heard = [said for said in group.sent("receiver/people") if said["id"] == waits[0]["id"]]
    assert [parts_of(said) for said in heard] == [{"p1"}]


def parts_of(said: Any) -> set[str]:
    return {alert["labels"]["group"][:2] for alert in said.get("alerts", ())}


def test_pieces_that_are_not_whole_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path, made(3, partitions=2))
    group.brokers.problem = "state in heed.state is not whole and not used: small of topic/0"
    process, said = group.start("a", START), list[Any]()
    monkeypatch.setattr(process.keeper, "_log", Log(said))
    process.source.gain("topic/0")
    process.source.gain("topic/1")
    assert [about["error"] for name, about in said if name == "state.failed"] == [group.brokers.problem]
    group.end()


class Log:
    """Keeps what is said."""

    def __init__(self, said: list[Any]) -> None:
        self._said = said

    def error(self, name: str, **about: Any) -> None:
        self._said.append((name, about))

    info = error


def test_letters_that_are_on_this_disk_are_not_sent_again_when_their_partition_comes_back(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=2))
    (tmp_path / "rules.yaml").write_text(BUSY)
    process, step = group.start("a", START), 0
    process.source.gain("topic/0")
    process.source.gain("topic/1")
    while not (step and about(group)["letters"]):
        run(group, step, step + 1)
        step += 1
    process.keeper._member = lambda: ("a", {"topic/1": ""})  # the client knows already that topic/0 is taken
    process.keeper.commit(process.clock.now(), [], process.loop.progress, urgent=True)
    process.keeper._member = process.source.standing
    process.source.lose(["topic/0"])
    process.source.gain("topic/0")
    assert process.keeper._unsent == []
    group.end()


def test_that_a_rule_is_limited_is_told_once_over_a_restart(tmp_path: Path) -> None:
    group = Group(tmp_path, made(3, partitions=1))
    rules = BUSY.replace("- name: all", "- name: all\n  limit: 1").replace("100.5", "90")
    (tmp_path / "rules.yaml").write_text(rules)
    group.start("a", START).source.gain("topic/0")
    run(group, 0, 40)
    group.end()
    again = group.start("a", START + 40 * SECOND)
    again.source.gain("topic/0")
    assert "HeedRuleLimited" in [change.labels["alertname"] for change in again.monitor.firing()]
    run(group, 40, 60)
    group.end()
    told = Counter(each["fingerprint"] for each in group.brokers.alerts if "Limited" in each["labels"]["alertname"])
    assert set(told.values()) == {1}
