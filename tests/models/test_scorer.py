"""A user's own ONNX file: any subset of inputs and outputs serves, and what can't is said on load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artifact import BUILTIN, LITE, MODEL
from models.contract import ModelError
from models.probe import full_look, probe_look
from models.scorer import OnnxScorer, WeightScorer

F = TensorProto.FLOAT
Ports = dict[str, tuple[int, list[Any]]]


def graph(path: Path, inputs: Ports, outputs: Ports, nodes: list[Any], numbers: dict[str, Any] | None = None) -> Path:
    """Write a small ONNX file."""
    made = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (numbers or {}).items()],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def largest(axis: int, keep: int = 0, source: str = "values", out: str = "score") -> list[Any]:
    return [helper.make_node("ReduceMax", [source, "axis"], [out], keepdims=keep)]


def by_rows(path: Path, **ports: Any) -> Path:
    """score [N] = the largest of values [N, T]."""
    outputs = {"score": (F, ["N"])}
    return graph(path, {"values": (F, ["N", 128])} | ports, outputs, largest(1), {"axis": np.array([1])})


def test_values_by_rows_alone_are_enough(tmp_path: Path) -> None:
    scorer = OnnxScorer(by_rows(tmp_path / "own.onnx"))
    look = probe_look(3, 4, 6)
    look = replace(look, member=np.where(look.member == 2, -1, look.member))
    verdict = scorer.score(look)
    real = look.member >= 0
    np.testing.assert_array_equal(verdict.score, np.where(real, look.values.max(2), 0))
    assert verdict.expected is None and verdict.time_weight is None and verdict.stream_weight is None
    assert (scorer.name, scorer.window, scorer.cost, scorer.normalised) == ("own", 128, (0.0, 0.0), False)
    assert len(scorer.digest) == 64


def test_a_score_may_come_with_a_last_dimension_of_one(tmp_path: Path) -> None:
    path = graph(
        tmp_path / "column.onnx",
        {"values": (F, [None, None])},
        {"score": (F, [None, 1])},
        largest(1, keep=1),
        {"axis": np.array([1])},
    )
    look = full_look(2, 3)
    np.testing.assert_array_equal(OnnxScorer(path).score(look).score, look.values.max(2))


def test_a_model_fixes_its_own_window(tmp_path: Path) -> None:
    path = graph(
        tmp_path / "short.onnx", {"values": (F, ["N", 16])}, {"score": (F, ["N"])}, largest(1), {"axis": np.array([1])}
    )
    scorer = OnnxScorer(path)
    assert scorer.window == 16 and scorer.score(full_look(1, 2, 16)).score.shape == (1, 2)
    with pytest.raises(ModelError, match=r"short\.onnx: wants windows of 16 steps, got 128"):
        scorer.score(full_look(1, 2))


def test_values_in_double_and_a_mask_as_numbers_are_cast(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["values", "mask"], ["kept"]), *largest(2, source="kept", out="wide")]
    nodes.append(helper.make_node("Cast", ["wide"], ["score"], to=F))
    inputs = {"values": (TensorProto.DOUBLE, ["G", "A", "T"]), "mask": (TensorProto.DOUBLE, ["G", "A", "T"])}
    path = graph(tmp_path / "d.onnx", inputs, {"score": (F, ["G", "A"])}, nodes, {"axis": np.array([2])})
    look = full_look(2, 3)
    np.testing.assert_array_equal(OnnxScorer(path).score(look).score, look.values.max(2))


def test_rows_that_are_not_finite_are_zero_counted_and_marked(tmp_path: Path) -> None:
    nodes = [*largest(2, out="largest"), helper.make_node("Log", ["largest"], ["score"])]
    nodes.append(helper.make_node("Concat", ["raw", "raw", "raw"], ["expected"], axis=2))
    nodes.insert(0, helper.make_node("ReduceMax", ["values", "axis"], ["raw"], keepdims=1))
    path = graph(
        tmp_path / "log.onnx",
        {"values": (F, ["G", "A", "T"])},
        {"score": (F, ["G", "A"]), "expected": (F, ["G", "A", 3])},
        nodes,
        {"axis": np.array([2])},
    )
    scorer, look = OnnxScorer(path), full_look(2, 3)
    assert scorer.bad_rows == 0
    values = np.abs(look.values)
    values[0, 1], values[1, 2] = -1, 0  # NaN and minus infinity
    verdict = scorer.score(replace(look, values=values))
    assert scorer.bad_rows == 2 and np.argwhere(scorer.bad).tolist() == [[0, 1], [1, 2]]
    assert verdict.score[0, 1] == verdict.score[1, 2] == 0 and np.isfinite(verdict.score).all()
    assert verdict.expected is not None and (verdict.expected[0, 1] == 0).all() and verdict.expected[0, 0, 0] > 0
    scorer.score(replace(look, values=np.abs(look.values)))
    assert scorer.bad_rows == 2 and not scorer.bad.any()


def test_a_look_at_nobody_gives_zeros(tmp_path: Path) -> None:
    look = full_look(2, 3)
    nobody = replace(look, member=np.full_like(look.member, -1))
    for scorer in (OnnxScorer(by_rows(tmp_path / "own.onnx")), OnnxScorer(BUILTIN)):
        assert scorer.score(nobody).score.tolist() == [[0, 0, 0]] * 2


BAD: dict[str, tuple[Ports, Ports, str]] = {
    "misspelt input": (
        {"value": (F, ["N", 128])},
        {"score": (F, ["N"])},
        "unknown input 'value', did you mean 'values'?",
    ),
    "foreign input": (
        {"values": (F, ["N", 128]), "zebra": (F, ["N"])},
        {"score": (F, ["N"])},
        "unknown input 'zebra', known are 'values', 'mask', 'member', 'evidence', 'present'",
    ),
    "no score": (
        {"values": (F, ["N", 128])},
        {"anomaly": (F, ["N"])},
        "missing output 'score'; it gives 'anomaly': rename",
    ),
    "fixed batch": ({"values": (F, [1, 128])}, {"score": (F, ["N"])}, "N must be dynamic"),
    "one dimension": ({"values": (F, [128])}, {"score": (F, [1])}, "input 'values' has shape [128], wanted [G, A, T]"),
    "mask alone": ({"mask": (TensorProto.BOOL, ["N", 128])}, {"score": (F, ["N"])}, "missing input 'values' [N, T]"),
    "rows and groups": (
        {"values": (F, ["N", 128]), "present": (TensorProto.BOOL, ["G", "S"])},
        {"score": (F, ["N"])},
        "input 'present' needs values [G, A, T], not [N, T]",
    ),
    "other tokens": (
        {"values": (F, ["G", "A", 128]), "evidence": (F, ["G", "S", 4, 7])},
        {"score": (F, ["G", "A"])},
        "wanted [G, S, K, C] with C = 20",
    ),
    "misspelt output": (
        {"values": (F, ["N", 128])},
        {"score": (F, ["N"]), "expectd": (F, ["N", 3])},
        "unknown output 'expectd', did you mean 'expected'?",
    ),
    "text": ({"values": (TensorProto.STRING, ["N", 128])}, {"score": (F, ["N"])}, "is tensor(string)"),
    "wrong shape": ({"values": (F, ["N", 128])}, {"score": (F, [])}, "output 'score' came as [], wanted"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_graph_that_can_not_serve_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    inputs, outputs, said = BAD[case]
    first = next(iter(inputs))
    nodes = [helper.make_node("Shape", [first], ["size"]), helper.make_node("Cast", ["size"], ["wide"], to=F)]
    nodes += [helper.make_node("ReduceMax", ["wide"], [name], keepdims=0) for name in outputs]
    loose = {name: (kind, None) for name, (kind, _) in outputs.items()}
    path = graph(tmp_path / "bad.onnx", inputs, loose, nodes)
    with pytest.raises(ModelError) as error:
        OnnxScorer(path)
    assert said in str(error.value) and "bad.onnx" in str(error.value)


def test_outputs_that_heed_has_no_use_for_are_left_alone(tmp_path: Path) -> None:
    nodes = [*largest(1), helper.make_node("Abs", ["values"], ["embedding"])]
    path = graph(
        tmp_path / "more.onnx",
        {"values": (F, ["N", 128])},
        {"score": (F, ["N"]), "embedding": (F, ["N", 128])},
        nodes,
        {"axis": np.array([1])},
    )
    assert OnnxScorer(path).signature.outputs == ("score",)


def test_a_file_that_is_no_graph_or_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"junk\.onnx: can't be loaded"):
        OnnxScorer(tmp_path / "junk.onnx")
    with pytest.raises(ModelError, match=r"absent\.onnx: there is no such model"):
        OnnxScorer(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="there is no card"):
        OnnxScorer(tmp_path)


def test_the_builtin_model_knows_its_card() -> None:
    scorer = OnnxScorer(BUILTIN)
    assert scorer.card is not None and scorer.name == f"{scorer.card.name} {scorer.card.version}"
    assert scorer.digest == scorer.card.files[MODEL]["sha256"] and scorer.normalised and scorer.window == 128
    assert min(scorer.cost) > 0
    verdict = scorer.score(full_look(2, 5))
    assert [v.shape[2] for v in (verdict.expected, verdict.time_weight, verdict.stream_weight) if v is not None] == [
        3,
        16,
        5,
    ]


def test_the_lite_model_says_a_score_and_no_more() -> None:
    verdict = OnnxScorer(BUILTIN, file=LITE).score(full_look(2, 5))
    assert verdict.score.shape == (2, 5) and verdict.expected is None


def test_a_member_that_the_group_does_not_have_is_refused() -> None:
    look = full_look(1, 3)
    with pytest.raises(ModelError, match="member 7 of 3 members"):
        OnnxScorer(BUILTIN).score(replace(look, member=look.member + 5))


def test_the_same_look_gets_the_same_bits_from_every_session() -> None:
    look = probe_look(8, 16, 20)
    first, second = OnnxScorer(BUILTIN), OnnxScorer(BUILTIN)
    for name in ("score", "expected", "time_weight", "stream_weight"):
        once = getattr(first.score(look), name)
        np.testing.assert_array_equal(once, getattr(first.score(look), name))
        np.testing.assert_array_equal(once, getattr(second.score(look), name))


def test_weights_that_are_not_finite_are_zero_and_counted() -> None:
    weigher = WeightScorer(BUILTIN)
    features = np.zeros((3, 16), np.float32)
    features[1, 0], features[2, 10] = np.nan, 5
    weights = weigher.weights(features)
    assert weights.dtype == np.float32 and weights[1] == 0 and weigher.bad_rows == 1 and weights[2] > weights[0]


def test_a_weight_that_takes_other_features_is_refused(tmp_path: Path) -> None:
    path = graph(
        tmp_path / "w.onnx",
        {"features": (F, ["n", 7])},
        {"weight": (F, ["n"])},
        largest(1, source="features", out="weight"),
        {"axis": np.array([1])},
    )
    with pytest.raises(ModelError, match=r"w\.onnx: failed"):
        WeightScorer(path)
