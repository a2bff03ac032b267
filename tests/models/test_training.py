"""Training: it learns what the prior can't tell, the same way each time, and its examples keep on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.contract import ModelError
from models.dataset import NO_FAULT, Examples, concat, load
from models.quality import average_precision, quality
from models.train import detection_loss, early_rows, scores, train, train_lite, train_weight
from models.weight import WeightModel


def examples(frames: int = 240, members: int = 6, seed: int = 0) -> Examples:
    """Faults and look-alikes have the same prior, .9; only channel 3 tells one from the other."""
    rng = np.random.default_rng(seed)
    evidence = np.abs(rng.standard_normal((frames, members, 4, 20))).astype(np.float32) * np.float32(0.2)
    values = rng.standard_normal((frames, members, 128)).astype(np.float32)
    target, fault = np.zeros((frames, members), np.float32), np.full((frames, members), NO_FAULT, np.int32)
    for number, start in enumerate(range(5, frames - 8, 16)):
        stream, other = rng.choice(members, 2, replace=False)
        rows = slice(start, start + 6)
        target[rows, stream], fault[rows, stream] = 1, number
        evidence[rows, stream, 0, 3] += 3
        evidence[rows, [[stream], [other]], 0, 16] = 0.9
    present = np.ones((frames, members), np.bool_)
    return Examples(values, np.ones(values.shape, np.bool_), evidence, present, target, fault)


@pytest.fixture(scope="module")
def shown() -> Examples:
    return examples()


@pytest.mark.parametrize(("how", "epochs"), [(train, 25), (train_lite, 60)], ids=["full", "lite"])
def test_training_finds_the_faults_that_the_prior_leaves_below_the_bar(shown: Examples, how, epochs: int) -> None:
    model, report = how(shown, seed=1, epochs=epochs)
    assert report.quality["prior"].recall == 0 and report.quality["model"].recall >= 0.9
    assert report.losses[-1] < report.losses[0]
    unseen = examples(seed=9)
    found = quality(unseen, scores(model, unseen))
    assert found.recall >= 0.9 and found.false_rows < 5
    assert found.auc_pr > quality(unseen, unseen.evidence[:, :, 0, 16]).auc_pr


def test_the_same_seed_gives_the_same_network_and_another_seed_another(shown: Examples) -> None:
    few = shown.take(slice(0, 64))
    once, again, other = (train(few, seed=seed, epochs=1)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["head.0.weight"], other["head.0.weight"])
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_forecast_learns_a_level(shown: Examples) -> None:
    frames = shown.take(slice(0, 200))
    ramp = np.broadcast_to(np.linspace(-4, 4, 128, dtype=np.float32), frames.values.shape).copy()
    level = np.random.default_rng(0).standard_normal((*frames.present.shape, 1)).astype(np.float32)
    rising = Examples(ramp + level, frames.mask, frames.evidence, frames.present, frames.target * 0, None)
    model, _ = train(rising, seed=0, epochs=15)
    with torch.no_grad():
        look = rising.look()
        arrays = [torch.from_numpy(getattr(look, n)) for n in ("values", "mask", "member", "evidence", "present")]
        expected = model(*arrays)[1].numpy()
    off = np.abs(expected[:, :, 1] - rising.values[:, :, -1]).mean()
    assert off < 0.7 < np.abs(rising.values[:, :, :-1].mean(2) - rising.values[:, :, -1]).mean()


def test_the_weight_learns_to_look_where_the_model_found_something() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((4000, 16)).astype(np.float32)
    found = (features[:, 2] + features[:, 14] > 1.5).astype(np.float32)
    model, report = train_weight(features, found, seed=0, epochs=20)
    again, _ = train_weight(features, found, seed=0, epochs=20)
    unseen = rng.standard_normal((2000, 16)).astype(np.float32)
    with torch.no_grad():
        weight, untrained = model(torch.from_numpy(unseen)).numpy(), WeightModel()(torch.from_numpy(unseen)).numpy()
        np.testing.assert_array_equal(weight, again(torch.from_numpy(unseen)).numpy())
    truth = unseen[:, 2] + unseen[:, 14] > 1.5
    assert average_precision(weight, truth) > 0.8 > 0.4 > average_precision(untrained, truth)
    assert report.losses[-1] < report.losses[0]


def test_rows_that_do_not_count_change_neither_loss_nor_quality(shown: Examples) -> None:
    target = shown.target.copy()
    target[:, 0] = np.nan
    present = shown.present.copy()
    present[:, 1] = False
    judged = Examples(shown.values, shown.mask, shown.evidence, present, target, shown.fault)
    said = np.zeros(target.shape, np.float32)
    wild = said.copy()
    wild[:, :2] = 50
    assert quality(judged, said) == quality(judged, wild)
    counted = torch.from_numpy(judged.counted())
    early = torch.from_numpy(early_rows(judged))
    batch = {"target": torch.from_numpy(target), "counted": counted, "early": early}
    assert float(detection_loss(torch.from_numpy(said), batch)) == float(detection_loss(torch.from_numpy(wild), batch))


def test_early_rows_are_the_first_frames_of_each_fault() -> None:
    fault = np.full((8, 2), NO_FAULT, np.int32)
    fault[1:7, 0] = 4
    fault[3:5, 1] = 2
    shape = fault.shape
    made = Examples(
        np.zeros((*shape, 128), np.float32),
        np.ones((*shape, 128), np.bool_),
        np.zeros((*shape, 4, 20), np.float32),
        np.ones(shape, np.bool_),
        (fault >= 0).astype(np.float32),
        fault,
    )
    early = early_rows(made, rows=3)
    assert early[:, 0].tolist() == [-1, 4, 4, 4, -1, -1, -1, -1]
    assert early[:, 1].tolist() == [-1, -1, -1, 2, 2, -1, -1, -1]


def test_a_fault_found_early_costs_less_than_one_never_found() -> None:
    def loss(score: list[float]) -> float:
        said = torch.tensor([score])
        row = torch.ones_like(said)
        return float(detection_loss(said, {"target": row, "counted": row > 0, "early": torch.zeros_like(row).long()}))

    assert loss([1.5, 0.0, 0.0]) < loss([0.5, 0.5, 0.5]) < loss([0.0, 0.0, 0.0])


def test_examples_keep_on_disk_and_foreign_files_are_refused(shown: Examples, tmp_path: Path) -> None:
    few = shown.take(slice(0, 10))
    few.save(tmp_path / "few.npz")
    again = load(tmp_path / "few.npz")
    assert set(again.columns()) == set(few.columns()) and again.features is None and len(again) == 10
    for name, column in few.columns().items():
        np.testing.assert_array_equal(again.columns()[name], column)
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"junk\.npz: not a file of examples"):
        load(tmp_path / "junk.npz")
    np.savez(tmp_path / "objects.npz", values=np.array([{}], object))
    with pytest.raises(ModelError, match="not a file of examples"):
        load(tmp_path / "objects.npz")


def test_examples_of_several_runs_are_padded_and_their_faults_kept_apart() -> None:
    small, large = examples(40, 3), examples(40, 5, seed=1)
    joined = concat([small, large])
    assert joined.values.shape == (80, 5, 128) and not joined.present[:40, 3:].any()
    assert joined.fault is not None and small.fault is not None and large.fault is not None
    assert (joined.fault[:40, 3:] == NO_FAULT).all()
    seen = [set(np.unique(part[part >= 0])) for part in (joined.fault[:40], joined.fault[40:])]
    assert not seen[0] & seen[1] and len(seen[1]) == len(np.unique(large.fault)) - 1


def test_columns_that_do_not_fit_together_are_refused(shown: Examples) -> None:
    with pytest.raises(ModelError, match="target is"):
        Examples(shown.values, shown.mask, shown.evidence, shown.present, shown.target[:5])


def test_average_precision_of_known_rankings() -> None:
    event = np.array([True, False, True, False])
    assert average_precision(np.array([4, 3, 2, 1], np.float32), event) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.ones(4, np.float32), event) == pytest.approx(0.5)
    assert average_precision(np.array([4, 1, 3, 2], np.float32), event) == pytest.approx(1.0)
