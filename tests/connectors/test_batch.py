"""Batches in columns, and the tables of streams and partitions that they point into."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import REFUSED, Batch, PartitionTable, StreamTable, concat, empty


def batch(n: int, partition: int = 0, backlog: bool | None = None, **rest: object) -> Batch:
    rows = np.arange(n)
    return Batch(
        rows.astype(np.int32),
        rows * 10,
        rows * 10 + 1,
        rows / 2,
        np.full(n, partition, np.int32),
        rows,
        backlog=None if backlog is None else np.full(n, backlog),
        **rest,  # type: ignore[arg-type]
    )


def test_an_empty_batch_has_no_readings_and_may_tell_of_partitions() -> None:
    found = empty((1,), (2,), {3: 4})
    assert len(found) == 0
    assert (found.at_end, found.ended, found.positions) == ((1,), (2,), {3: 4})
    assert len(concat([])) == 0


def test_taking_rows_takes_all_columns_and_nothing_of_the_partitions() -> None:
    whole = batch(5, backlog=True, positions={0: 5}, at_end=(0,), ended=(0,), counts={"records": 5})
    part = whole.take(np.array([3, 1]))
    assert part.stream.tolist() == [3, 1]
    assert part.ts.tolist() == [30, 10]
    assert part.arrived.tolist() == [31, 11]
    assert part.value.tolist() == [1.5, 0.5]
    assert part.offset.tolist() == [3, 1]
    assert part.backlog is not None and part.backlog.all()
    assert (part.positions, part.at_end, part.ended, part.counts) == ({}, (), (), {})
    assert len(whole.take(np.array([True, False, True, False, False]))) == 2


def test_one_batch_of_several_keeps_their_order_and_the_later_position() -> None:
    first = batch(2, 0, positions={0: 2, 1: 7}, at_end=(1,), counts={"records": 2, "bytes": 9})
    second = batch(3, 1, backlog=True, positions={1: 8}, at_end=(1, 0), ended=(2,), counts={"records": 3})
    found = concat([first, second])
    assert found.partition.tolist() == [0, 0, 1, 1, 1]
    assert found.ts.tolist() == [0, 10, 0, 10, 20]
    assert found.positions == {0: 2, 1: 8}
    assert (found.at_end, found.ended) == ((1, 0), (2,))
    assert found.counts == {"records": 5, "bytes": 9}
    assert found.backlog is not None and found.backlog.tolist() == [False, False, True, True, True]
    assert concat([first]) is first
    assert concat([first, first]).backlog is None


def test_a_name_has_one_slot_and_new_ones_are_told_once() -> None:
    table = StreamTable()
    slots = [table.slot(name, "g") for name in ("b", "a", "b", "c")]
    assert slots == [0, 1, 0, 2]
    assert table.take_new() == [0, 1, 2]
    assert table.take_new() == []
    assert len(table) == 3


def test_the_limit_on_streams_turns_names_away_and_counts_them() -> None:
    table = StreamTable(limit=2)
    assert [table.slot(name, "g") for name in "abca"] == [0, 1, REFUSED, 0]
    assert table.slot("c", "g") == REFUSED
    assert table.refused == 2
    table.release([0])
    assert table.slot("c", "g") == 0


def test_free_slots_are_given_again_the_lowest_first() -> None:
    table = StreamTable()
    for name in "abcdef":
        table.slot(name, "g", {"site": name}, step=5, origin=2)
    table.release([4, 1, 3])
    assert [table.slot(name, "g") for name in "xyzw"] == [1, 3, 4, 6]
    assert table.labels[1] == {}
    assert table.step[1] == table.origin[1] == 0
    assert table.slot("b", "g") == 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60), st.integers(0, 60))
def test_a_restored_table_gives_the_slots_that_the_other_gives(moves: list[tuple[bool, int]], at: int) -> None:
    table = StreamTable(limit=9)
    twin: StreamTable | None = None
    for i, (come, number) in enumerate(moves):
        if i == at:
            table.take_new()
            twin = StreamTable(limit=9)
            twin.restore(json.loads(json.dumps(table.state())))
            assert twin.take_new() == []
        name = f"s{number}"
        tables = [table] if twin is None else [table, twin]
        if come:
            slots = {each.slot(name, "g", {"n": name}) for each in tables}
            assert len(slots) == 1
            assert slots == {REFUSED} or table.names[slots.pop()] == name
        elif name in table.slot_of:
            for each in tables:
                each.release([each.slot_of[name]])
    live = [name for name in table.names if name]
    assert len(live) == len(set(live)) == len(table.slot_of) <= 9
    if twin is not None:
        assert (twin.names, twin.labels) == (table.names, table.labels)


def test_partitions_have_one_number_each() -> None:
    table = PartitionTable()
    assert [table.number(name) for name in ("t/0", "t/1", "t/0")] == [0, 1, 0]
    assert table.names == ["t/0", "t/1"]


def test_a_stream_cannot_be_released_twice() -> None:
    table = StreamTable()
    table.slot("a", "g")
    table.release([0])
    with pytest.raises(KeyError):
        table.release([0])
