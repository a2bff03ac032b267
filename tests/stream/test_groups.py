"""Panels of at most 64 streams: who sits where, when streams come, leave and come back."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import MEMBERS
from stream.groups import Groups


def filled(n: int, group: str = "press") -> Groups:
    groups = Groups()
    for slot in range(n):
        groups.assign(slot, group)
    return groups


def test_members_sit_in_the_order_of_first_appearance() -> None:
    groups = Groups()
    for slot, group in ((3, "press"), (0, "road"), (7, "press")):
        groups.assign(slot, group)
    assert groups.names == ["press", "road"]
    assert groups.slots[0, :3].tolist() == [3, 7, -1]
    assert groups.of[[3, 0, 7]].tolist() == [0, 1, 0]
    assert groups.member[[3, 0, 7]].tolist() == [0, 0, 1]
    assert groups.of[5] == -1


def test_the_65th_member_begins_a_further_panel_and_that_is_said_once() -> None:
    groups = Groups()
    said = [groups.assign(slot, "press") for slot in range(MEMBERS + 2)]
    assert said == [False] * MEMBERS + [True, False]
    assert groups.names == ["press", "press"]
    assert groups.of[MEMBERS] == 1
    assert groups.mates("press").size == MEMBERS + 2


def test_a_place_that_became_free_is_given_to_the_next() -> None:
    groups = filled(MEMBERS + 1)
    groups.release([5])
    assert not groups.assign(200, "press")
    assert (groups.of[200], groups.member[200]) == (0, 5)


def test_a_panel_without_members_is_given_to_another_group() -> None:
    groups = filled(3)
    groups.assign(3, "road")
    groups.release([0, 1, 2])
    assert groups.names == ["", "road"]
    assert groups.mates("press").size == 0
    groups.assign(0, "market")
    assert groups.names == ["market", "road"]
    assert len(groups) == 2


def test_an_unknown_group_has_no_members() -> None:
    assert Groups().mates("nobody").size == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_panels_hold_every_stream_once_and_a_restored_copy_goes_on_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, member_of = Groups(), dict[int, str]()
    twin: Groups | None = None
    for turn in range(6):
        if turn == 3:
            twin = Groups()
            twin.restore(copy.deepcopy(groups.columns()), groups.names)
        for slot in rng.permutation(300)[: int(rng.integers(0, 200))].tolist():
            if slot not in member_of:
                member_of[slot] = ["press", "road", "market", "solo"][min(int(rng.exponential(1)), 3)]
                said = groups.assign(slot, member_of[slot])
                assert twin is None or twin.assign(slot, member_of[slot]) == said
        leaving = [slot for slot in member_of if rng.random() < rng.choice([0.1, 0.9])]
        for slot in leaving:
            del member_of[slot]
        for each in [groups] if twin is None else [groups, twin]:
            each.release(leaving)
        for slot, group in member_of.items():
            assert groups.names[groups.of[slot]] == group
            assert groups.slots[groups.of[slot], groups.member[slot]] == slot
        assert (groups.slots >= 0).sum() == len(member_of) == (groups.of >= 0).sum()
        for group in set(member_of.values()):
            assert sorted(groups.mates(group).tolist()) == sorted(s for s, g in member_of.items() if g == group)
        if twin is not None:
            assert twin.names == groups.names
            n = min(twin.slots.shape[0], groups.slots.shape[0])
            assert (twin.slots[:n] == groups.slots[:n]).all()
