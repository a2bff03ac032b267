"""What every scorer must keep: padding is silent, neighbours in the look don't matter, the input stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import BUILTIN, LITE, MODEL, Card
from models.attention import AttentionModel, LiteModel
from models.baseline import SentinelScorer, prior_of
from models.contract import Look, Scorer
from models.export import export
from models.probe import full_look, probe_look
from models.scorer import OnnxScorer
from models.weight import WeightModel

KINDS = ("sentinel", "builtin", "shaken", "shaken lite")
EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scorer]:
    """Scorers by kind; the shaken ones have weights that make every part of the network count."""
    folder: Path = tmp_path_factory.mktemp("shaken")
    torch.manual_seed(5)
    nets = AttentionModel(), LiteModel(), WeightModel()
    with torch.no_grad():
        for parameter in (p for net in nets for p in net.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.2)
    export(*nets, folder, Card("shaken", "1"))
    scorers: dict[str, Scorer] = {
        "sentinel": SentinelScorer(),
        "builtin": OnnxScorer(BUILTIN),
        "shaken": OnnxScorer(folder, file=MODEL),
        "shaken lite": OnnxScorer(folder, file=LITE),
    }
    return scorers.__getitem__


@pytest.fixture(scope="module", params=KINDS)
def scorer(request: pytest.FixtureRequest, made: Callable[[str], Scorer]) -> Scorer:
    return made(request.param)


def outputs(scorer: Scorer, look: Look) -> dict[str, np.ndarray]:
    verdict = scorer.score(look)
    named = {each.name: getattr(verdict, each.name) for each in fields(verdict)}
    return {name: array for name, array in named.items() if array is not None}


def test_a_scorer_says_who_it_is_and_what_it_costs(scorer: Scorer) -> None:
    assert scorer.name and scorer.digest and scorer.window == 128
    fixed, each = scorer.cost
    assert fixed >= 0 and each >= 0


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_outputs_have_the_looks_shape_and_are_finite_and_silent_in_padding(
    scorer: Scorer, groups: int, admitted: int, members: int, seed: int
) -> None:
    look = probe_look(groups, admitted, members, seed=seed)
    for name, output in outputs(scorer, look).items():
        assert output.shape[:2] == (groups, admitted) and output.dtype == np.float32, name
        assert np.isfinite(output).all() and (output[look.member < 0] == 0).all(), name


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_score_does_not_depend_on_who_else_was_admitted(scorer: Scorer, data: st.DataObject) -> None:
    look = full_look(3, 6)
    everyone = outputs(scorer, look)
    width = data.draw(st.integers(1, 8))
    order = st.permutations([0, 1, 2, 3, 4, 5, -1, -1])
    at = np.array([data.draw(order)[:width] for _ in range(3)])
    group, kept = np.arange(3)[:, None], at >= 0
    some = replace(
        look,
        values=np.where(kept[..., None], look.values[group, at], np.float32(0)),
        mask=look.mask[group, at] & kept[..., None],
        member=at.astype(np.int64),
    )
    said = outputs(scorer, some) if kept.any() else {}
    for name, output in said.items():
        np.testing.assert_allclose(output[kept], everyone[name][group, at][kept], err_msg=name, **EXACT)


def test_groups_padded_with_absent_members_get_the_same_scores(scorer: Scorer) -> None:
    look = full_look(2, 5)
    evidence = np.pad(look.evidence, ((0, 0), (0, 9), (0, 0), (0, 0)), constant_values=7)
    padded = replace(look, evidence=evidence, present=np.pad(look.present, ((0, 0), (0, 9))))
    np.testing.assert_allclose(scorer.score(padded).score, scorer.score(look).score, **EXACT)
    weight = scorer.score(padded).stream_weight
    assert weight is None or (weight[:, :, 5:] == 0).all()


def test_groups_do_not_hear_each_other(scorer: Scorer) -> None:
    look = full_look(3, 4)
    alone = Look(*(getattr(look, each.name)[1:2] for each in fields(look)))
    np.testing.assert_allclose(scorer.score(look).score[1:2], scorer.score(alone).score, **EXACT)


def test_scoring_leaves_the_look_as_it_was(scorer: Scorer) -> None:
    look = probe_look(2, 3, 5)
    before = [getattr(look, each.name).copy() for each in fields(look)]
    scorer.score(look)
    for each, old in zip(fields(look), before, strict=True):
        np.testing.assert_array_equal(getattr(look, each.name), old)


def test_the_same_look_gets_the_same_bits(scorer: Scorer) -> None:
    look = probe_look(4, 8, 9)
    np.testing.assert_array_equal(scorer.score(look).score, scorer.score(look).score)


def test_scores_stay_near_the_evidence_they_start_from(scorer: Scorer) -> None:
    look = probe_look(4, 8, 9)
    moved = scorer.score(look).score - prior_of(look)
    assert np.abs(moved).max() <= 0.201  # models/attention.py, REACH
