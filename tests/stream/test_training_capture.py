"""What training is given: frames as the monitor saw them, and which of their rows lay in a fault."""

from __future__ import annotations

import numpy as np
import pytest

from models.baseline import PRIOR, SentinelScorer
from models.contract import TOKEN_CHANNELS, TOKEN_STEPS
from models.dataset import NO_FAULT, Examples
from stream.app.capture import Scene, capture, weighed

SMALL = Scene(3, streams=30, group_size=(6, 10), warm=400, steps=300, faults=30)


@pytest.fixture(scope="module")
def seen() -> Examples:
    return capture(SMALL)


def test_frames_hold_every_member_with_its_window_and_its_evidence(seen: Examples) -> None:
    frames, members = seen.present.shape
    assert frames > 50 and members <= 10
    assert seen.values.shape == (frames, members, 128)
    assert seen.evidence.shape == (frames, members, TOKEN_STEPS, TOKEN_CHANNELS)
    assert np.isfinite(seen.values).all() and np.isfinite(seen.evidence).all()
    assert seen.present.any(axis=1).all()
    assert (seen.values[~seen.mask] == 0).all()


def test_rows_in_a_fault_are_marked_and_numbered_and_the_rest_is_clean_or_left_out(seen: Examples) -> None:
    assert seen.fault is not None
    inside = seen.target == 1
    assert inside.any() and (seen.target == 0).any() and np.isnan(seen.target[seen.present]).any()
    assert (seen.fault[inside] != NO_FAULT).all()
    prior = seen.evidence[:, :, 0, PRIOR]
    clean = (seen.target == 0) & seen.present
    assert np.median(prior[inside & seen.present]) > 2 * np.median(prior[clean])


def test_the_same_scene_gives_the_same_frames(seen: Examples) -> None:
    again = capture(SMALL)
    for name, column in seen.columns().items():
        np.testing.assert_array_equal(column, again.columns()[name], err_msg=name)


def test_under_load_the_gates_features_stand_beside_what_a_full_look_finds() -> None:
    features, found = weighed(SMALL, SentinelScorer(), lambda inputs: inputs[:, 10], 8.0)
    assert features.shape == (len(found), 16) and len(found) > 500
    assert np.isfinite(features).all() and np.isfinite(found).all()
    assert features[:, 13 - 1].max() > 0, "under load streams go unseen for some steps"
