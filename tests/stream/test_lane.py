"""A range of streams is taken as a slice, and what is written through it is what an index would have written."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.lane import place_of
from stream.ledger import OUTCOMES, Ledger

SLOTS = st.sets(st.integers(0, 30), min_size=1).map(sorted)


@given(SLOTS)
def test_a_place_selects_the_same_columns_as_the_slots(slots: list[int]) -> None:
    own = np.array(slots, np.int32)
    np.testing.assert_array_equal(np.arange(31)[place_of(own)], own)


def test_only_a_range_is_a_slice() -> None:
    assert place_of(np.array([3, 4, 5], np.int32)) == slice(3, 6)
    assert isinstance(place_of(np.array([3, 5], np.int32)), np.ndarray)
    assert place_of(np.empty(0, np.int32)).size == 0  # type: ignore[union-attr]  # an array


@given(st.lists(st.integers(0, len(OUTCOMES) - 1), min_size=1, max_size=8))
def test_the_ledger_counts_a_range_like_its_slots(outcomes: list[int]) -> None:
    slots, given = np.arange(2, 2 + len(outcomes), dtype=np.int32), np.array(outcomes, np.int8)
    one, other = Ledger(), Ledger()
    for ledger, at in ((one, place_of(slots)), (other, slots)):
        ledger.grow(12)
        ledger.count(at, given)
        ledger.count(at, np.zeros_like(given))
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(one.total, other.total)
    assert one.windows()["due"] == 2 * len(outcomes)
