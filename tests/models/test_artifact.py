"""Artifacts on disk: what is missing, cut short or changed is named, and nothing else is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.artifact import BUILTIN, CARD, MODEL, WEIGHT, Card, read_card, stamp, verify, write_card
from models.contract import F32, Look, ModelError, Verdict
from models.probe import full_look, measure_cost, probe_look, worst
from models.scorer import OnnxScorer, WeightScorer
from models.selftest import self_test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / MODEL).write_bytes(b"not a graph, but a file")
    write_card(tmp_path, Card("plain", "1", files={MODEL: stamp(tmp_path / MODEL)}))
    return tmp_path


def test_an_artifact_as_it_was_written_has_no_problems(folder: Path) -> None:
    assert verify(folder) == []


def test_a_card_reads_as_it_was_written(folder: Path) -> None:
    card = Card("plain", "1", cost={"fixed_seconds": 0.001, "each_seconds": 1e-5}, files={MODEL: stamp(folder / MODEL)})
    write_card(folder, card)
    assert read_card(folder) == card and read_card(folder).seconds == (0.001, 1e-5)


def test_a_truncated_file_is_named_with_its_sizes(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"not a graph")
    assert verify(folder) == [f"{folder / MODEL}: truncated, 11 of 23 bytes"]


def test_a_changed_file_is_named(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"not a graph, but a fILE")
    (problem,) = verify(folder)
    assert "model.onnx" in problem and "SHA-256 differs" in problem


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / MODEL).unlink()
    assert verify(folder) == [f"{folder / MODEL}: missing"]


def test_a_model_that_the_card_does_not_list_is_named(folder: Path) -> None:
    write_card(folder, Card("plain", "1"))
    assert "does not list it" in verify(folder)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a readable card"),
        ("[]", "a card is a JSON object, this is a list"),
        ('{"format": 9, "name": "x", "version": "1"}', "card format 9 is not known"),
        ('{"format": 1, "version": "1"}', "missing or of the wrong type: name"),
        ('{"format": 1, "name": "x", "version": "1", "files": []}', "wrong type: files"),
        ('{"format": 1, "name": "x", "version": "1", "files": {"a": 3}}', "wrong type: files.a"),
        ('{"format": 1, "name": "x", "version": "1", "window": "128"}', "wrong type: window"),
    ],
)
def test_what_is_not_a_card_is_said_in_words(folder: Path, text: str, said: str) -> None:
    (folder / CARD).write_text(text)
    (problem,) = verify(folder)
    assert said in problem and "card.json" in problem
    with pytest.raises(ModelError, match="card"):
        OnnxScorer(folder)


def test_a_card_of_a_later_heed_may_say_more(folder: Path) -> None:
    raw = json.loads((folder / CARD).read_text()) | {"licence": "something new"}
    (folder / CARD).write_text(json.dumps(raw))
    assert read_card(folder).name == "plain"


def test_the_builtin_artifact_passes_its_self_test() -> None:
    assert self_test(BUILTIN) == []


def test_the_builtin_artifact_is_refused_when_a_byte_of_it_changed(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(BUILTIN, tmp_path / "copy"))
    for name in (MODEL, WEIGHT):
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(bytes(data))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        OnnxScorer(copy)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        WeightScorer(copy)
    assert len(self_test(copy)) == 2


class Priced:
    """A scorer that takes a known time, on a clock of its own."""

    name = digest = "priced"
    window = 128
    cost = (0.0, 0.0)

    def __init__(self) -> None:
        self.time = 0.0

    def score(self, look: Look) -> Verdict:
        self.time += 0.002 + 1e-5 * look.member.size
        return Verdict(np.zeros(look.member.shape, np.float32))


def test_measuring_cost_finds_what_a_call_and_what_a_stream_costs() -> None:
    scorer = Priced()
    fixed, each = measure_cost(scorer, lambda: scorer.time)
    assert fixed == pytest.approx(0.002, rel=1e-6) and each == pytest.approx(1e-5, rel=1e-6)


def test_made_up_looks_are_looks() -> None:
    look = probe_look(3, 5, 7)
    assert look.values.shape == (3, 5, 128) and look.values.dtype == np.float32
    assert (look.values[~look.mask] == 0).all() and not look.mask[0, 0].any()
    assert not look.present.all() and (look.member[-1] == -1).sum() == 0
    group = np.arange(3)[:, None]
    assert look.present[group, look.member].all()
    assert full_look(2, 4).member.tolist() == [[0, 1, 2, 3]] * 2


def test_an_answer_of_another_shape_or_that_is_not_finite_is_infinitely_off() -> None:
    numbers: F32 = np.ones(3, np.float32)
    assert worst(numbers, numbers) == 0 and worst(numbers, numbers[:2]) == float("inf")
    assert worst(numbers, numbers * np.float32("nan")) == float("inf")


def test_serving_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, models.scorer, models.artifact, models.baseline, models.selftest, models.probe; "
        "sys.exit(bool({'torch', 'onnx', 'onnxscript'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reading_a_card_does_not_import_onnxruntime() -> None:
    code = "import sys, models.artifact, models.baseline; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
