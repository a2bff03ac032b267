"""The attention model in torch: what it may look at, what it must not, and how it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.attention import REACH, AttentionModel, LiteModel, correction
from models.baseline import prior_of
from models.contract import Look, Verdict
from models.export import answer
from models.probe import full_look, probe_look, wave
from models.weight import WeightModel

EXACT = {"rtol": 0, "atol": 1e-5}


def shaken(net: nn.Module, seed: int = 7) -> nn.Module:
    """A network whose every parameter, also those that begin at zero, says something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Else what a network begins with would depend on which tests ran before."""
    torch.manual_seed(7)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(7)
    return shaken(AttentionModel())


def said(model: nn.Module, look: Look) -> Verdict:
    return answer(model, look)


def admit(look: Look, columns: list[list[int]]) -> Look:
    """The same look with only some of the admitted, in another order; -1 = padding."""
    at = np.array(columns)
    kept, at = at >= 0, np.maximum(at, 0)
    group = np.arange(len(at))[:, None]
    return replace(
        look,
        values=np.where(kept[..., None], look.values[group, at], np.float32(0)),
        mask=look.mask[group, at] & kept[..., None],
        member=np.where(kept, look.member[group, at], -1),
    )


@pytest.mark.parametrize("net", [AttentionModel(), LiteModel()], ids=["full", "lite"])
def test_an_untrained_model_says_exactly_what_its_prior_says(net: nn.Module) -> None:
    look = probe_look(4, 6, 9)
    np.testing.assert_array_equal(said(net, look).score, prior_of(look))


def test_a_trained_model_moves_the_prior_by_a_bounded_amount() -> None:
    moved = correction(torch.tensor([-50.0, -1.0, 0.0, 1.0, 50.0]))
    assert moved[0] == pytest.approx(-REACH) and moved[4] == pytest.approx(REACH)
    assert moved[2] == 0 and 0 < moved[3] < REACH and moved[1] < 0


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_score_does_not_depend_on_who_else_was_admitted(model: nn.Module, data: st.DataObject) -> None:
    look = full_look(2, 6)
    everyone = said(model, look)
    width = data.draw(st.integers(1, 7))
    chosen = st.permutations(range(6)).map(lambda order: [*order, -1, -1][:width])
    columns = [data.draw(chosen) for _ in range(2)]
    some = said(model, admit(look, columns))
    for g, row in enumerate(columns):
        for a, member in enumerate(row):
            if member >= 0:
                np.testing.assert_allclose(some.score[g, a], everyone.score[g, member], **EXACT)
                np.testing.assert_allclose(some.expected[g, a], everyone.expected[g, member], **EXACT)
                np.testing.assert_allclose(some.stream_weight[g, a], everyone.stream_weight[g, member], **EXACT)


def test_absent_members_and_what_stands_in_their_rows_change_nothing(model: nn.Module) -> None:
    look = full_look(2, 5)
    evidence = np.pad(look.evidence, ((0, 0), (0, 4), (0, 0), (0, 0)), constant_values=1e6)
    evidence[:, 5:, 1] = np.nan
    padded = replace(look, evidence=evidence, present=np.pad(look.present, ((0, 0), (0, 4))))
    few, many = said(model, look), said(model, padded)
    np.testing.assert_allclose(many.score, few.score, **EXACT)
    np.testing.assert_allclose(many.expected, few.expected, **EXACT)
    assert (many.stream_weight[:, :, 5:] == 0).all()
    np.testing.assert_allclose(many.stream_weight[:, :, :5], few.stream_weight, **EXACT)


def test_what_a_mate_shows_does_change_a_score(model: nn.Module) -> None:
    look = full_look(1, 4)
    evidence = look.evidence.copy()
    evidence[0, 3] += 3
    assert np.abs(said(model, look).score - said(model, replace(look, evidence=evidence)).score)[0, 0] > 1e-4


def test_masked_patches_get_no_weight_and_the_others_share_it(model: nn.Module) -> None:
    look = full_look(1, 2)
    mask = np.ones((1, 2, 128), np.bool_)
    mask[0, 0, 8:24] = False
    masked = replace(look, values=np.where(mask, look.values, np.float32(0)), mask=mask)
    weight = said(model, masked).time_weight
    assert (weight[0, 0, 1:3] == 0).all() and (np.delete(weight[0, 0], [1, 2]) > 0).all()
    np.testing.assert_allclose(weight.sum(2), 1, atol=1e-6)


def test_values_behind_the_mask_change_nothing(model: nn.Module) -> None:
    look = probe_look(2, 3, 5)
    dirty = replace(look, values=np.where(look.mask, look.values, np.float32(9)))
    np.testing.assert_array_equal(said(model, dirty).score, said(model, look).score)


def test_a_window_without_values_has_no_time_to_attend_to_and_still_gets_a_score(model: nn.Module) -> None:
    look = full_look(1, 3)
    empty = replace(look, values=np.zeros_like(look.values), mask=np.zeros_like(look.mask))
    verdict = said(model, empty)
    assert (verdict.time_weight == 0).all()
    assert np.isfinite(verdict.score).all() and np.isfinite(verdict.expected).all()


def test_with_nobody_present_there_is_nothing_to_attend_to_and_nothing_is_nan(model: nn.Module) -> None:
    look = full_look(1, 3)
    verdict = said(model, replace(look, present=np.zeros_like(look.present)))
    assert (verdict.stream_weight == 0).all()
    assert np.isfinite(verdict.score).all() and np.isfinite(verdict.expected).all()


def test_rows_of_padding_are_zero_in_every_output(model: nn.Module) -> None:
    look = full_look(2, 4)
    padded = replace(look, member=np.where(look.member == 1, -1, look.member))
    verdict = said(model, padded)
    for output in (verdict.score, verdict.expected, verdict.time_weight, verdict.stream_weight):
        assert output is not None and (output[:, 1] == 0).all() and np.isfinite(output).all()


def test_what_was_expected_does_not_know_the_newest_step_of_the_stream_itself(model: nn.Module) -> None:
    look = full_look(2, 5)
    values, evidence = look.values.copy(), look.evidence.copy()
    values[:, 2, -1] += 5
    evidence[:, 2, 0] += wave((2, 20), 3) * 2
    before, after = said(model, look), said(model, replace(look, values=values, evidence=evidence))
    np.testing.assert_allclose(after.expected[:, 2], before.expected[:, 2], **EXACT)
    assert (np.abs(after.score[:, 2] - before.score[:, 2]) > 1e-4).all()
    others = [0, 1, 3, 4]
    assert (np.abs(after.expected[:, others] - before.expected[:, others]) > 1e-6).any()


def test_what_was_expected_does_know_the_step_before(model: nn.Module) -> None:
    look = full_look(1, 2)
    values = look.values.copy()
    values[:, 0, -2] += 5
    assert np.abs(said(model, replace(look, values=values)).expected - said(model, look).expected)[0, 0].min() > 1e-4


def test_low_expected_and_high_come_in_this_order(model: nn.Module) -> None:
    for seed in range(5):
        expected = said(model, probe_look(6, 8, 9, seed=seed)).expected
        assert (np.diff(expected, axis=2) >= 0).all()


def test_an_untrained_model_expects_the_mean_of_the_window_give_or_take_its_spread() -> None:
    look = replace(full_look(1, 2), values=np.full((1, 2, 128), 3.0, np.float32))
    low, middle, high = said(AttentionModel(), look).expected[0, 0]
    assert middle == pytest.approx(3.0, abs=1e-4) and high - middle == pytest.approx(1.645, abs=0.01)
    assert middle - low == pytest.approx(1.645, abs=0.01)


def test_an_untrained_weight_ranks_by_the_latch() -> None:
    features = wave((200, 16), 0) * np.float32(5)
    features[:, 10] = np.linspace(0, 50, 200)
    with torch.no_grad():
        weight = WeightModel()(torch.from_numpy(features)).numpy()
    assert (np.diff(weight) > 0).all()


def test_the_networks_are_as_small_as_their_budget() -> None:
    def size(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    assert 30_000 <= size(AttentionModel()) <= 60_000
    assert size(LiteModel()) < 5_000 and size(WeightModel()) < 600


def test_training_sees_channels_silenced_and_serving_does_not() -> None:
    net, look = shaken(AttentionModel()), full_look(1, 4)
    once, again = said(net, look).score, said(net, look).score
    np.testing.assert_array_equal(once, again)
    net.train()
    arrays = [torch.from_numpy(getattr(look, n)) for n in ("values", "mask", "member", "evidence", "present")]
    with torch.no_grad():
        assert not torch.equal(net(*arrays)[0], net(*arrays)[0])


def test_the_attention_model_is_one_file_that_cites_its_sources() -> None:
    text = Path(__import__("models.attention").attention.__file__).read_text()
    assert "Attention Is All You Need" in text and "Set Transformer" in text
