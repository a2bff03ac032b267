"""Pieces of state cut into chunks: whatever is written over what, and compacted away, the newest is had whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.kafka.pieces import Pieces, Record, count, cut

NAMES, KINDS = ("plant/0", "plant/1"), ("large", "small")
WRITES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS), st.binary(max_size=40), st.integers(1, 7), st.booleans()),
    max_size=12,
)
Written = tuple[str, str, bytes, int, bool]


def log_of(writes: list[Written]) -> tuple[list[Record], dict[str, dict[str, bytes]]]:
    """The topic after these, and the newest of each; some writers know how long the piece before was."""
    log: list[Record] = []
    newest: dict[str, dict[str, bytes]] = {}
    counts: dict[tuple[str, str], int] = {}
    for name, kind, piece, most, knows in writes:
        log += cut((name, kind), piece, most, counts.get((name, kind), 0) if knows else 0)
        counts[name, kind] = count(piece, most)
        newest.setdefault(name, {})[kind] = piece
    return log, newest


def found_in(log: list[Record], names: tuple[str, ...] = NAMES) -> dict[str, dict[str, bytes]]:
    pieces = Pieces(names)
    for key, value, headers in log:
        pieces.add(key, value, headers)
    assert not pieces.broken()
    return pieces.whole()


@given(WRITES)
def test_the_newest_of_each_is_had_whole_however_it_was_cut(writes: list[Written]) -> None:
    log, newest = log_of(writes)
    assert found_in(log) == newest
    assert found_in(log, NAMES[:1]) == {name: kinds for name, kinds in newest.items() if name == NAMES[0]}


@given(WRITES, st.randoms(use_true_random=False))
def test_compaction_changes_nothing(writes: list[Written], chance: st.DataObject) -> None:
    log, newest = log_of(writes)
    last = {key: at for at, (key, _, _) in enumerate(log)}
    left = [each for at, each in enumerate(log) if last[each[0]] == at or chance.random() < 0.5]  # type: ignore[attr-defined]
    assert found_in(left) == newest


@given(st.binary(min_size=3, max_size=30), st.data())
def test_a_piece_of_which_a_chunk_is_missing_is_not_had_at_all(piece: bytes, data: st.DataObject) -> None:
    log = cut(("plant/0", "large"), piece, 2)
    missing = data.draw(st.integers(0, len(log) - 1))
    pieces = Pieces(NAMES)
    for at, record in enumerate(log):
        if at != missing:
            pieces.add(*record)
    assert pieces.whole() == {} and pieces.broken() == ["large of plant/0"]


@pytest.mark.parametrize("key", [None, b"", b"plant/0|large", b"plant/0|large|x", b"\xff|\xff|0", b"plant/0|large|0"])
def test_records_of_somebody_else_are_passed_over(key: bytes | None) -> None:
    pieces = Pieces(NAMES)
    pieces.add(key, b"text", [("heed.chunks", b"many"), ("heed.piece", None)])
    assert pieces.whole() == {} and pieces.broken() == []


def test_a_kind_that_would_make_keys_ambiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind of state"):
        cut(("plant/0", "a|b"), b"", 10)
