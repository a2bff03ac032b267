"""What windows took in is noted by stream, and comes back to the same stream after a restart, whatever its slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.keeping.store import Commit, Store, packed, unpacked
from stream.rules import recall
from stream.rules.expression import compile_expression
from stream.rules.recall import SAID, Recall

SECOND = 1_000_000_000


def names_of(names: list[str]) -> Any:
    return SimpleNamespace(names=names, groups=["g"] * len(names), labels=[{}] * len(names))


def slots(*each: int) -> Any:
    return np.array(each, np.int32)


def taken(*values: float) -> Any:
    return {"score": (np.ones(len(values), bool), np.array(values))}


def through(note: Recall, after: Recall) -> None:
    """As over a restart: what was pending, as it comes from disk."""
    piece = note.pending()
    assert piece is not None
    after.restore([unpacked(packed(*piece), "note")])


@given(
    st.permutations(range(6)),
    st.lists(
        st.lists(st.one_of(st.floats(width=16), st.floats(width=32), st.floats()), min_size=6, max_size=6),
        min_size=1,
        max_size=5,
    ),
)
def test_each_stream_gets_its_own_values_back_whatever_its_slot(order: list[int], steps: list[list[float]]) -> None:
    names = [f"s{i}" for i in range(6)]
    before, after = Recall(names_of(names)), Recall(names_of([names[i] for i in order]))
    for k, values in enumerate(steps):
        before.note((SECOND, k * SECOND), slots(*range(6)), taken(*values))
    through(before, after)
    for k, values in enumerate(steps):
        mine, column = after.of((SECOND, k * SECOND), slots(*range(6)))["score"]
        assert mine.all()
        np.testing.assert_array_equal(column, np.array(values)[order])


def test_a_stream_that_took_nothing_in_gets_nothing_back() -> None:
    before, after = Recall(names_of(["a", "b"])), Recall(names_of(["new", "b", "a"]))
    before.note((SECOND, SECOND), slots(0, 1), {"score": (np.array([True, False]), np.array([2.0, 3.0]))})
    through(before, after)
    mine, column = after.of((SECOND, SECOND), slots(0, 1, 2))["score"]
    assert mine.tolist() == [False, False, True]
    assert column[2] == 2
    assert after.of((2 * SECOND, SECOND), slots(0)) == {}, "a step of another length"


def test_a_slot_that_is_given_to_another_stream_counts_for_that_one() -> None:
    names = names_of(["a"])
    before, after = Recall(names), Recall(names_of(["a", "b"]))
    before.note((SECOND, SECOND), slots(0), taken(1.0))
    before.forget(slots(0, 5))
    names.names[0] = "b"
    before.note((SECOND, 2 * SECOND), slots(0), taken(2.0))
    through(before, after)
    assert after.of((SECOND, SECOND), slots(0, 1))["score"][0].tolist() == [True, False]
    assert after.of((SECOND, 2 * SECOND), slots(0, 1))["score"][0].tolist() == [False, True]


def test_a_checkpoint_while_steps_are_read_again_keeps_those_to_come() -> None:
    first, second, third = (Recall(names_of(["a", "b"])) for _ in range(3))
    for k in range(1, 5):
        first.note((SECOND, k * SECOND), slots(0, 1), taken(k, -k))
    through(first, second)
    second.of((SECOND, 3 * SECOND), slots(0, 1))
    second.begin_anew()
    assert second.anew
    through(second, third)
    assert [key for key in (1, 2, 3, 4) if third.of((SECOND, key * SECOND), slots(1))] == [3, 4]
    assert third.of((SECOND, 4 * SECOND), slots(1))["score"][1].tolist() == [-4.0]


def test_after_a_checkpoint_pieces_name_their_streams_again() -> None:
    note, after = Recall(names_of(["a", "b"])), Recall(names_of(["b", "a"]))
    note.note((SECOND, SECOND), slots(0, 1), taken(1, 2))
    note.pending()
    note.written()
    note.begin_anew()
    assert note.pending() is None
    note.note((SECOND, 2 * SECOND), slots(1), taken(3))
    through(note, after)
    assert after.of((SECOND, SECOND), slots(0)) == {}
    assert after.of((SECOND, 2 * SECOND), slots(0, 1))["score"][0].tolist() == [True, False]


def test_a_piece_that_could_not_be_written_is_in_the_next_one() -> None:
    note, after = Recall(names_of(["a"])), Recall(names_of(["a"]))
    note.note((SECOND, SECOND), slots(0), taken(1))
    note.pending()
    note.note((SECOND, 2 * SECOND), slots(0), taken(2))
    through(note, after)
    assert [after.of((SECOND, k * SECOND), slots(0))["score"][1].item() for k in (1, 2)] == [1, 2]


def test_while_the_disk_is_full_the_oldest_steps_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MOST_VALUES", 5)
    note, after = Recall(names_of(["a", "b"])), Recall(names_of(["a", "b"]))
    for k in range(1, 5):
        note.note((SECOND, k * SECOND), slots(0, 1), taken(k, k))
    through(note, after)
    assert [k for k in range(1, 5) if after.of((SECOND, k * SECOND), slots(0))] == [3, 4]


def test_conditions_and_scores_take_two_and_four_bytes() -> None:
    note = Recall(names_of(["a", "b"]))
    both = np.ones(2, bool)
    columns = {"c": [1.0, np.nan], "s": [np.float32(0.1), 7], "x": [0.1, 1e300]}
    note.note((SECOND, SECOND), slots(0, 1), {name: (both, np.array(each)) for name, each in columns.items()})
    piece = note.pending()
    assert piece is not None
    found = {argument: piece[0][values].dtype.itemsize for argument, _, values in piece[1]["steps"][0][2]}
    assert found == {"c": 2, "s": 4, "x": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('avg_over("value", "5m") > 1', set()),
        ('avg_over("score", "5m") > 1', {"score"}),
        ('count_over(score > 1 and value > expected, "5m") > 1', {"score", "expected"}),
        ('max_over(avg_over("p", "5s"), "5m") > 1', {"p"}),
        ('share_over(group_max(weight) > 1 or fidelity == "full", "5m") > 1', {"weight", "fidelity"}),
    ],
)
def test_an_argument_tells_what_of_it_is_not_of_readings(text: str, said: set[str]) -> None:
    asks = compile_expression(text).asks
    assert set().union(*(ask.said for ask in asks)) == said <= SAID


def test_notes_are_kept_in_order_until_they_begin_anew(tmp_path: Any) -> None:
    store = Store(tmp_path)
    store.commit(Commit(note=b"one"))
    store.commit(Commit())
    store.commit(Commit(note=b"two"))
    assert store.notes() == [b"one", b"two"]
    store.stage(Commit(note=b"lost"))
    store.drop()
    store.commit(Commit(note=b"three", anew=True))
    assert store.notes() == [b"three"]
    store.commit(Commit(anew=True))
    assert store.notes() == []
    store.close()
