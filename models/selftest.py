"""Whether an artifact still is and still says what it was and said when it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.artifact import LITE, MODEL, WEIGHT, Card, read_card, verify
from models.contract import ModelError
from models.gating import INPUTS
from models.probe import SELF_TEST, probe_look, wave, worst
from models.scorer import Graph, OnnxScorer, WeightScorer
from models.signature import Dim

TOLERANCE = 1e-3  # other CPUs round otherwise, another model is further off


def self_test(folder: Path) -> list[str]:
    """What is wrong with an artifact: its files, its shapes, and whether it still answers as when it was exported."""
    problems = verify(folder)
    if problems:
        return problems
    card = read_card(folder)
    try:
        answers = probe_answers(folder)
        for name in (n for n in (MODEL, LITE, WEIGHT) if n in card.files):
            problems += _differences(folder / name, card, answers.get(name, {}))
    except ModelError as error:
        problems.append(str(error))
    return problems


def probe_answers(folder: Path) -> dict[str, dict[str, list[Any]]]:
    """What each model of an artifact says of the made-up looks of its self-test."""
    look = probe_look(*SELF_TEST)
    answers: dict[str, dict[str, list[Any]]] = {}
    for name in (n for n in (MODEL, LITE) if (folder / n).is_file()):
        verdict = OnnxScorer(folder / name).score(look)
        answers[name] = {"score": verdict.score.tolist()}
        if verdict.expected is not None:
            answers[name]["expected"] = verdict.expected.tolist()
    if (folder / WEIGHT).is_file():
        answers[WEIGHT] = {"weight": WeightScorer(folder / WEIGHT).weights(wave((4, INPUTS), 0)).tolist()}
    return answers


def shapes_of(path: Path) -> dict[str, dict[str, list[Dim]]]:
    """The dimensions of a graph's inputs and outputs, as the card keeps them."""
    graph = Graph(path)
    return {"inputs": graph.inputs, "outputs": graph.outputs}


def _differences(path: Path, card: Card, answers: Mapping[str, Any]) -> list[str]:
    problems = []
    if path.name in card.shapes and card.shapes[path.name] != shapes_of(path):
        problems.append(f"{path}: inputs or outputs have other shapes than the card says")
    for output, said in card.probe.get(path.name, {}).items():
        off = worst(said, answers.get(output, []))
        if not off <= TOLERANCE:
            problems.append(f"{path}: self-test failed, {output} is off by {off:.2g}, allowed are {TOLERANCE:g}")
    return problems
