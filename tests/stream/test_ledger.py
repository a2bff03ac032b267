"""The account of windows due conserves: whatever comes, leaves, is stored and comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.ledger import FULL, GAP, LITE, OUTCOMES, SENTINEL, SHED, WARMUP, Ledger, share_looked_at


def counted(ledger: Ledger, slots: list[int], outcomes: list[int]) -> None:
    ledger.count(np.array(slots, np.int32), np.array(outcomes, np.int8))


def begun(*names: str) -> Ledger:
    ledger = Ledger()
    for slot, name in enumerate(names):
        ledger.start(slot, name)
    return ledger


def test_windows_due_are_the_sum_of_all_outcomes() -> None:
    ledger = begun("a", "b")
    for outcome in range(len(OUTCOMES)):
        counted(ledger, [0, 1], [outcome, FULL])
    expected = {"due": 12, "full": 7, "lite": 1, "sentinel": 1, "shed": 1, "gap": 1, "warmup": 1}
    assert ledger.windows() == expected
    assert ledger.counts[:, 0].tolist() == [1] * 6


def test_coverage_is_the_share_that_got_a_look() -> None:
    ledger = begun("a", "b", "c", "d")
    assert ledger.coverage() == 1.0
    counted(ledger, [0, 1, 2, 3], [FULL, LITE, SHED, SENTINEL])
    assert ledger.coverage() == 0.5
    assert share_looked_at(np.array([0, 0, 0, 0, 3, 1])) == 0.0


def test_a_frame_without_streams_counts_nothing() -> None:
    ledger = begun("a")
    counted(ledger, [], [])
    assert ledger.windows()["due"] == 0


def test_what_a_stream_that_left_had_stays_in_the_totals_and_not_with_the_next_in_its_slot() -> None:
    ledger = begun("a")
    counted(ledger, [0], [GAP])
    ledger.release(np.array([0], np.int32))
    ledger.start(0, "b")
    counted(ledger, [0], [WARMUP])
    assert ledger.counts[:, 0].tolist() == [0, 0, 0, 0, 0, 1]
    assert ledger.windows()["due"] == 2


def test_counts_wait_under_the_name_until_the_stream_has_a_slot_again() -> None:
    ledger = begun("a", "b")
    counted(ledger, [0, 1], [FULL, SHED])
    again = Ledger()
    again.restore(*ledger.snapshot(["a", "b"]))
    again.start(0, "b")
    assert again.counts[:, 0].tolist() == [0, 0, 0, 1, 0, 0]
    names, counts, _ = again.snapshot(["b"])
    assert names == ["b", "a"]
    assert counts[FULL].tolist() == [0, 1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_is_lost_and_nothing_is_counted_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ledger, live, own, total = Ledger(), dict[str, int](), dict[str, np.ndarray](), np.zeros(6, np.int64)
    for _ in range(30):
        what = rng.random()
        if what < 0.3:
            free = min(set(range(20)) - set(live.values()))
            name = str(rng.choice([n for n in "abcdefghij" if n not in live] or ["k"]))
            if name not in live:
                ledger.start(free, name)
                live[name] = free
                own.setdefault(name, np.zeros(6, np.int64))
        elif what < 0.4 and live:
            name = str(rng.choice(sorted(live)))
            ledger.release(np.array([live.pop(name)], np.int32))
            del own[name]
        elif what < 0.5:  # a restart: slots are given anew, not to all
            names = [""] * 20
            for name, slot in live.items():
                names[slot] = name
            stored = ledger.snapshot(names)
            ledger = Ledger()
            ledger.restore(*stored)
            live = {}
        elif live:
            names = [name for name in sorted(live) if rng.random() < 0.7]
            outcomes = rng.integers(0, 6, len(names))
            counted(ledger, [live[name] for name in names], outcomes.tolist())
            for name, outcome in zip(names, outcomes, strict=True):
                own[name][outcome] += 1
                total[outcome] += 1
        for name, slot in live.items():
            assert (ledger.counts[:, slot] == own[name]).all()
        assert (ledger.total == total).all()
    assert ledger.windows()["due"] == total.sum()
    stored = ledger.snapshot([next((n for n, s in live.items() if s == slot), "") for slot in range(20)])
    assert dict(zip(stored[0], stored[1].T.tolist(), strict=True)) == {n: c.tolist() for n, c in own.items()}


def test_a_snapshot_does_not_change_with_what_is_counted_later() -> None:
    ledger = begun("a")
    counted(ledger, [0], [FULL])
    _, counts, total = ledger.snapshot(["a"])
    counted(ledger, [0], [FULL])
    assert counts[FULL].tolist() == [1]
    assert total[FULL] == 1


def test_a_stream_started_in_a_far_slot_has_its_column() -> None:
    ledger = Ledger()
    ledger.start(1000, "far")
    counted(ledger, [1000], [FULL])
    assert ledger.counts[FULL, 1000] == 1
    assert ledger.counts[FULL].sum() == pytest.approx(1)
