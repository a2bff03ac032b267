"""The gate's state by slot: streams that come and go, restarts, and what each policy ranks by."""

import numpy as np
import pytest

from models.gating import GATE, INPUTS
from stream.gate import NEVER, Gate
from stream.selection import SHED, Reason

GROUPS = 4


def slots_of(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.int32)


def groups_of(slots: np.ndarray) -> np.ndarray:
    return (slots % GROUPS).astype(np.int32)


def watched(n: int = 24, steps: int = 60, policy: str = "gate", seed: int = 0, **settings: float) -> Gate:
    """A gate that has seen ``steps`` readings of n streams."""
    gate = Gate(policy, seed=seed, **settings)
    gate.start(slots_of(n))
    for row in readings(n, steps):
        gate.look(slots_of(n), row, groups_of(slots_of(n)), GROUPS)
    return gate


def readings(n: int, steps: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, n))


def weights(gate: Gate, slots: np.ndarray, now: int = 60) -> np.ndarray:
    return gate.weights(slots, groups_of(slots), GROUPS, now)


def seen(gate: Gate, slots: np.ndarray, now: int = 60) -> np.ndarray:
    return gate.features(slots, groups_of(slots), GROUPS, now)


def admit(gate: Gate, slots: np.ndarray, k: int, now: int = 60) -> np.ndarray:
    a = gate.admit(slots, weights(gate, slots, now), k, np.full(len(slots), 10_000), np.zeros(len(slots), bool))
    return slots[a.rows]


def test_an_unknown_policy_or_share_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown policy 'best': one of weight, gate"):
        Gate("best")
    with pytest.raises(ValueError, match="explore"):
        Gate(explore=1.5)


def test_a_surprising_stream_is_admitted_first_and_then_rests() -> None:
    gate, slots = watched(steps=200), slots_of(24)
    shifted = readings(24, 1, seed=9)[0] * 0.3
    shifted[7] += 8
    gate.look(slots, shifted, groups_of(slots), GROUPS)
    assert weights(gate, slots, 200).argmax() == 7
    assert seen(gate, slots, 200)[7, GATE] == weights(gate, slots, 200)[7]
    gate.learn(slots[7:8], np.array([1.4], np.float32), 200)
    assert weights(gate, slots, 200)[7] == 0
    assert gate.age(slots, 203)[7] == 3 and gate.age(slots, 203)[8] == 203


def test_what_a_full_look_found_reaches_the_others_of_the_group() -> None:
    gate, slots = watched(), slots_of(24)
    before = seen(gate, slots)
    gate.learn(slots[4:5], np.array([1.8], np.float32), 60)
    after = seen(gate, slots)
    mates = groups_of(slots) == groups_of(slots)[4]
    assert before.shape == (24, INPUTS) and before.dtype == np.float32
    mates[4] = False
    np.testing.assert_allclose(after[mates, 14], 1.8, rtol=1e-6)
    assert not after[~mates, 14].any() and not before[:, 14].any()


def test_a_latch_fades_slowly() -> None:
    gate, slots = watched(n=4, steps=200), slots_of(4)
    gate.look(slots, np.array([9.0, 0, 0, 0]), slots_of(4), 4)
    high = weights(gate, slots)[0]
    gate.look(slots, np.zeros(4), slots_of(4), 4)
    assert 0.9 * high <= weights(gate, slots)[0] * 1.0001


def test_a_slot_given_to_another_stream_begins_anew() -> None:
    gate, slots = watched(), slots_of(24)
    gate.learn(slots, np.full(24, 2, np.float32), 60)
    gate.start(slots[5:6], now=60)
    fresh = Gate("gate")
    fresh.start(slots_of(24), now=60)
    np.testing.assert_array_equal(seen(gate, slots)[5, :13], seen(fresh, slots)[5, :13])
    assert seen(gate, slots)[5, 11] == NEVER and gate.age(slots, 60)[5] == 0
    for part in ("state", "first"):
        np.testing.assert_array_equal(gate.columns()[part][..., 5], fresh.columns()[part][..., 5])


def test_growing_keeps_what_is_known() -> None:
    gate, slots = watched(), slots_of(24)
    before = seen(gate, slots)
    gate.grow(1000)
    gate.grow(3)
    np.testing.assert_array_equal(seen(gate, slots), before)


@pytest.mark.parametrize("present", [slots_of(24), slots_of(24)[3:17], slots_of(24)[::3], slots_of(24)[::-1]])
def test_it_does_not_matter_how_the_slots_of_a_tick_lie(present: np.ndarray) -> None:
    gate, spread = watched(steps=40), Gate("gate")
    spread.start(slots_of(48))
    slots = slots_of(24)
    for row in readings(24, 40):
        spread.look(2 * slots, row, groups_of(slots), GROUPS)
    for row in readings(24, 5, seed=2):
        gate.look(present, row[present], groups_of(present), GROUPS)
        spread.look(2 * present, row[present], groups_of(present), GROUPS)
    np.testing.assert_allclose(
        gate.features(present, groups_of(present), GROUPS, 50),
        spread.features(2 * present, groups_of(present), GROUPS, 50),
        rtol=1e-5,
        atol=1e-6,
    )


def test_readings_that_are_no_numbers_are_passed_over() -> None:
    gate, other, slots = watched(), watched(), slots_of(24)
    row = readings(24, 1, seed=3)[0]
    row[[3, 8]] = np.nan, np.inf
    gate.look(slots, row, groups_of(slots), GROUPS)
    known = np.delete(slots, [3, 8])
    other.look(known, row[known], groups_of(known), GROUPS)
    np.testing.assert_array_equal(seen(gate, slots), seen(other, slots))
    gate.look(slots, np.full(24, np.nan), groups_of(slots), GROUPS)
    np.testing.assert_array_equal(seen(gate, slots), seen(other, slots))


def test_a_score_that_is_no_number_teaches_nothing_but_counts_as_a_look() -> None:
    gate, slots = watched(), slots_of(24)
    gate.learn(slots[:2], np.array([0.5, 0.5], np.float32), 59)
    gate.learn(slots[:2], np.array([np.nan, 1e30], np.float32), 60)
    assert list(gate.age(slots[:2], 60)) == [0, 0]
    assert seen(gate, slots)[0, 11] == np.float32(0.5) and np.isfinite(seen(gate, slots)).all()


def test_what_depends_on_readings_does_not_depend_on_who_was_looked_at() -> None:
    gate, other, slots = watched(), watched(), slots_of(24)
    gate.learn(slots[::2], np.ones(12, np.float32), 60)
    for row in readings(24, 5, seed=4):
        for each in (gate, other):
            each.look(slots, row, groups_of(slots), GROUPS)
    for name, column in gate.columns().items():
        np.testing.assert_array_equal(column, other.columns()[name])
    assert not np.array_equal(gate.learned()["latch"], other.learned()["latch"])


def test_a_restarted_gate_goes_on_as_if_nothing_had_happened() -> None:
    gate, slots = watched(), slots_of(24)
    columns = gate.columns()  # the seldom checkpoint
    rows = readings(24, 8, seed=5)
    for now, row in enumerate(rows[:6], start=60):
        gate.look(slots, row, groups_of(slots), GROUPS)
        chosen = admit(gate, slots, 5, now)
        gate.learn(chosen, np.full(5, 0.7, np.float32), now)
    learned = gate.learned()  # the frequent one
    again = Gate("gate")
    again.restore(columns)
    for row in rows[:6]:
        again.look(slots, row, groups_of(slots), GROUPS)  # muted
    again.restore_learned(learned)
    for each in (gate, again):
        each.look(slots, rows[6], groups_of(slots), GROUPS)
    np.testing.assert_array_equal(seen(again, slots, 70), seen(gate, slots, 70))
    np.testing.assert_array_equal(admit(again, slots, 7, 70), admit(gate, slots, 7, 70))


def test_a_checkpoint_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="gate state of shape"):
        Gate().restore({"state": np.zeros((3, 5), np.float32), "first": np.zeros(5)})


def test_the_weigher_ranks_once_there_is_one() -> None:
    gate, slots = watched(policy="weight"), slots_of(24)
    np.testing.assert_array_equal(weights(gate, slots), weights(watched(), slots))
    gate.weigher = lambda rows: -rows[:, GATE]
    np.testing.assert_array_equal(weights(gate, slots), -weights(watched(), slots))


def test_the_last_score_ranks_by_the_last_score() -> None:
    gate, slots = watched(policy="last", explore=0.0), slots_of(24)
    gate.learn(slots, np.linspace(0, 1, 24, dtype=np.float32), 60)
    assert list(admit(gate, slots, 3)) == [23, 22, 21]


@pytest.mark.parametrize("policy", ["oldest", "round_robin"])
def test_taking_turns_reaches_every_stream_in_turn(policy: str) -> None:
    gate, slots = watched(policy=policy, explore=0.0), slots_of(24)
    met: list[int] = []
    for now in range(61, 67):
        chosen = admit(gate, slots, 4, now)
        gate.learn(chosen, np.zeros(4, np.float32), now)
        met += chosen.tolist()
    assert sorted(met) == list(range(24))


def test_chance_is_the_same_for_the_same_seed_and_step_and_fair() -> None:
    gate, slots = watched(policy="random"), slots_of(24)
    np.testing.assert_array_equal(weights(gate, slots), weights(watched(policy="random"), slots))
    assert not np.array_equal(weights(gate, slots, 61), weights(gate, slots, 60))
    assert not np.array_equal(weights(watched(policy="random", seed=1), slots), weights(gate, slots))
    many = np.array([weights(gate, slots, now) for now in range(4000)])
    assert many.min() >= 0 and many.max() < 1
    np.testing.assert_allclose(many.mean(axis=0), 0.5, atol=0.03)
    assert abs(np.corrcoef(many[:-1, 0], many[1:, 0])[0, 1]) < 0.05


def test_above_eightfold_demand_less_goes_to_exploration() -> None:
    gate, slots = Gate("oldest"), slots_of(1000)
    gate.start(slots)
    for k, expected in ((200, 50), (100, 10)):
        a = gate.admit(slots, slots.astype(np.float32), k, np.full(1000, 99), np.zeros(1000, bool))
        assert np.count_nonzero(a.reason == Reason.EXPLORED) == expected
        assert np.count_nonzero(a.reason < SHED) == k


def test_nothing_due_is_no_trouble() -> None:
    gate, none = watched(policy="weight"), slots_of(0)
    gate.look(none, np.empty(0), none, 0)
    gate.learn(none, np.empty(0, np.float32), 0)
    assert weights(gate, none).shape == (0,) and seen(gate, none).shape == (0, INPUTS)
    assert len(admit(gate, none, 5)) == 0


def test_a_stream_that_comes_back_after_a_restart_is_remembered() -> None:
    gate, slots = Gate("last"), slots_of(24)
    gate.start(slots, now=60)
    gate.recall(5, 0.9, 48)
    assert gate.age(slots, 60)[5] == 12 and weights(gate, slots).argmax() == 5


def test_the_age_of_a_stream_never_looked_at_stays_within_what_the_weight_was_taught() -> None:
    gate, slots = watched(), slots_of(24)
    old, older = seen(gate, slots, 5_000)[:, 12], seen(gate, slots, 1_700_000_000)[:, 12]
    np.testing.assert_array_equal(old, older)
