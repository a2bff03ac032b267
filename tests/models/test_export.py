"""Export: the ONNX files say what torch says, whatever the size of the look."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models.artifact import LITE, MODEL, WEIGHT, Card, read_card, verify
from models.attention import AttentionModel, LiteModel
from models.baseline import prior_of
from models.contract import ModelError
from models.export import PARITY, answer, export, parity, untrained, weigh
from models.probe import probe_look, wave
from models.scorer import OnnxScorer, WeightScorer
from models.selftest import self_test
from models.weight import WeightModel

Nets = tuple[AttentionModel, LiteModel, WeightModel]


def shaken(net: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.train()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Else what a network begins with would depend on which tests ran before."""
    torch.manual_seed(7)


@pytest.fixture(scope="module")
def nets() -> Nets:
    torch.manual_seed(7)
    return shaken(AttentionModel()), shaken(LiteModel()), shaken(WeightModel())  # type: ignore[return-value]


@pytest.fixture(scope="module")
def exported(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    ticks = iter(range(1_000_000))
    card = Card("shaken", "1", training={"seed": 3}, quality={"recall": 0.5})
    export(*nets, folder, card, timer=lambda: next(ticks) * 1e-3, measured_on="a test")
    return folder


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 64), (3, 2, 1), (5, 33, 33), (128, 1, 32)])
def test_every_output_equals_torchs_on_looks_of_any_size(
    nets: Nets, exported: Path, shape: tuple[int, int, int]
) -> None:
    look = probe_look(*shape, seed=11)
    verdict, wanted = OnnxScorer(exported).score(look), answer(nets[0], look)
    for name in ("score", "expected", "time_weight", "stream_weight"):
        np.testing.assert_allclose(getattr(verdict, name), getattr(wanted, name), rtol=0, atol=PARITY)
    lite = OnnxScorer(exported, file=LITE).score(look)
    np.testing.assert_allclose(lite.score, answer(nets[1], look).score, rtol=0, atol=PARITY)
    assert np.abs(verdict.score - lite.score).max() > 1e-4 or not (look.member >= 0).any()


def test_the_weight_equals_torchs_for_any_number_of_streams(nets: Nets, exported: Path) -> None:
    weigher = WeightScorer(exported)
    for n in (0, 1, 2, 1000):
        features = wave((n, 16), 5) * np.float32(3)
        np.testing.assert_allclose(weigher.weights(features), weigh(nets[2], features), rtol=0, atol=PARITY)


def test_the_card_tells_parity_cost_shapes_and_versions(exported: Path) -> None:
    card = read_card(exported)
    assert set(card.parity[MODEL]) == {"score", "expected", "time_weight", "stream_weight"}
    assert all(error <= PARITY for outputs in card.parity.values() for error in outputs.values())
    assert card.shapes[MODEL]["inputs"]["values"] == ["G", "A", 128]
    assert card.cost["measured_on"] == "a test, 1 thread" and OnnxScorer(exported).cost == card.seconds
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(card.created_with)
    assert card.training == {"seed": 3} and card.quality == {"recall": 0.5} and card.opset == 20


def test_the_files_are_small_and_hold_nothing_but_the_graph(exported: Path) -> None:
    assert (exported / MODEL).stat().st_size < 400_000
    assert sorted(p.name for p in exported.iterdir()) == ["card.json", LITE, MODEL, WEIGHT]
    text = (exported / MODEL).read_bytes() + (exported / "card.json").read_bytes()
    assert b"site-packages" not in text and str(Path.cwd()).encode() not in text
    assert onnx.load(exported / MODEL).opset_import[0].version == 20


def test_export_leaves_the_networks_in_training_as_they_were(nets: Nets, exported: Path) -> None:
    assert all(net.training for net in nets)


def test_a_graph_that_differs_from_its_network_is_noticed(nets: Nets, exported: Path) -> None:
    assert max(parity(nets[0], exported / MODEL).values()) <= PARITY
    assert parity(AttentionModel(), exported / MODEL)["score"] > 1e-3


def test_no_card_is_written_for_a_graph_that_differs(
    nets: Nets, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "models.export._write", lambda net, arrays, names, path: shutil.copy(exported / path.name, path)
    )
    with pytest.raises(ModelError, match=r"model\.onnx: score differs from torch"):
        export(AttentionModel(), nets[1], nets[2], tmp_path, Card("wrong", "0"))
    assert "there is no card" in verify(tmp_path)[0]


def test_an_exported_artifact_passes_its_self_test_and_one_that_answers_otherwise_does_not(exported: Path) -> None:
    assert self_test(exported) == []
    text = (exported / "card.json").read_text()
    raw = json.loads(text)
    raw["probe"][MODEL]["score"][0][1] += 0.01
    (exported / "card.json").write_text(json.dumps(raw))
    try:
        (problem,) = self_test(exported)
        assert "self-test failed, score is off by 0.01" in problem
    finally:
        (exported / "card.json").write_text(text)


def test_an_untrained_artifact_scores_as_the_evidence_does(tmp_path: Path) -> None:
    card = untrained(tmp_path, seed=1)
    look = probe_look(3, 5, 8)
    np.testing.assert_allclose(OnnxScorer(tmp_path).score(look).score, prior_of(look), rtol=0, atol=1e-6)
    assert card.name == "untrained" and self_test(tmp_path) == []
