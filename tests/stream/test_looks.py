"""Full looks: a stream's score does not depend on who else is looked at, nor on how the work is cut into chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor_feed import SIZE, START, Plain, Run, noise
from onnx import TensorProto, helper

from connectors.batch import SECOND
from models.contract import Look, ModelError, Verdict
from models.scorer import OnnxScorer
from stream.app.parts import BUILTIN
from stream.budget import Budget
from stream.lane import Tick
from stream.looks import Looks
from stream.verdict import Verdicts

STEPS = 180
SIZES = [70, 5, 12, 1]
LAST = 5  # the newest step closed when two are still to come
FAR = 1 << 61  # ns


class Stage:
    """The last tick of a run, and looks at any of its streams."""

    def __init__(self) -> None:
        values = noise(STEPS, sum(SIZES), 3, 0.05)
        values[-8:, ::9] += 12
        values[-LAST] = 100 + np.arange(sum(SIZES)) % 3  # everybody has a reading in the step looked at
        groups = [f"g{i}" for i, size in enumerate(SIZES) for _ in range(size)]
        ticks: list[Tick] = []
        more = {"windows": {"size": 128}}
        self.scorer = OnnxScorer(BUILTIN)
        self.run = Run(values, groups, self.scorer, (0.0, 0.0), more, observe=lambda v: ticks.append(v.tick))
        while self.run.clock.now() < START + (STEPS - 2) * SECOND:
            self.run.loop.turn()
        self.tick = ticks[-1]

    def look(self, slots: Any, budget: Budget | None = None) -> dict[int, tuple[float, float]]:
        parts = self.run.monitor.parts
        budget = budget or Budget(SECOND, (0.0, 0.0), exact=True)
        looks = Looks(self.scorer, parts.windows, parts.sentinel, parts.groups, budget, self.run.clock)
        found = looks.look(self.tick, np.asarray(slots, np.int32), self.run.clock.now() + FAR)
        assert sorted(found.slots.tolist()) == sorted(np.asarray(slots).tolist())
        middle = found.expected[:, 1]
        return {s: (a, b) for s, a, b in zip(found.slots.tolist(), found.score.tolist(), middle.tolist(), strict=True)}


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_score_is_the_same_whoever_else_is_admitted(stage: Stage, data: st.DataObject) -> None:
    everyone = stage.look(stage.tick.slots)
    some = data.draw(st.lists(st.sampled_from(stage.tick.slots.tolist()), min_size=1, max_size=40, unique=True))
    for slot, (score, expected) in stage.look(some).items():
        assert score == pytest.approx(everyone[slot][0], abs=1e-5)
        assert expected == pytest.approx(everyone[slot][1], abs=1e-3)


def test_a_score_is_the_same_in_chunks_of_any_size(stage: Stage) -> None:
    everyone = stage.look(stage.tick.slots)
    for rows in (1, 7, 64):
        budget = Budget(SECOND, (0.0, 0.0))
        budget.chunk = lambda deadline, now, left, rows=rows: min(rows, left)  # type: ignore[method-assign]
        for slot, (score, _) in stage.look(stage.tick.slots, budget).items():
            assert score == pytest.approx(everyone[slot][0], abs=1e-5)


def test_scores_differ_between_streams_and_expectations_are_in_their_own_units(stage: Stage) -> None:
    everyone = stage.look(stage.tick.slots)
    assert len({round(score, 6) for score, _ in everyone.values()}) > 10
    assert np.abs(np.array([expected for _, expected in everyone.values()]) - 100).max() < 40


def test_the_deadline_stops_it_between_chunks_and_the_first_in_order_were_looked_at() -> None:
    done: list[tuple[int, int]] = []

    def observe(verdicts: Verdicts) -> None:
        done.append((int((verdicts.rank >= 0).sum()), int(verdicts.looked.sum())))

    class Slow(Plain):
        """Costs far more than it says."""

        cost = (0.0, 0.001)

        def score(self, look: Look) -> Verdict:
            run.clock.charge(0.02 * int((look.member >= 0).sum()))
            return super().score(look)

    run = Run(noise(150, 20), ["g"] * 20, Slow(), None, {"budget": {"latency": "200ms"}}, observe=observe)
    run.all()
    windows = run.windows
    assert windows["due"] == sum(n for name, n in windows.items() if name != "due") == 150 * 20
    assert windows["shed"] > 100
    assert windows["full"] > 100
    assert any(0 < looked < admitted for admitted, looked in done), "some were cut by the clock"


# -- a user's own model


def onnx_file(path: Path, scale: float = 1.0) -> Path:
    """score = the largest value of a window / scale, of values [N, T] alone, in the stream's own units."""
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["N", SIZE])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])
    nodes = [
        helper.make_node("ReduceMax", ["values"], ["top"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["top", "scale"], ["score"]),
    ]
    factor = helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / scale])
    graph = helper.make_graph(nodes, "own", [values], [score], [factor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_users_model_of_values_alone_gets_them_in_the_streams_own_units(tmp_path: Path) -> None:
    values = noise(160, 3)
    values[150:, 1] = 400
    scorer = OnnxScorer(onnx_file(tmp_path / "own.onnx", 200.0))
    said: dict[tuple[int, int], float] = {}

    def observe(verdicts: Verdicts) -> None:
        rows = np.flatnonzero(verdicts.looked)
        said.update({(verdicts.tick.k, int(verdicts.tick.slots[r])): float(verdicts.score[r]) for r in rows})

    run = Run(values, ["g"] * 3, scorer, more={"model": {"path": str(tmp_path / "own.onnx")}}, observe=observe).all()
    assert run.windows["full"] == 3 * (160 - 99)
    first = min(k for k, _ in said) - 99
    for (k, slot), score in said.items():
        window = values[max(0, k - first - SIZE + 1) : k - first + 1, slot]
        assert score == pytest.approx(np.nanmax(window) / 200, rel=1e-5)
    assert {change.stream for change in run.changes if change.status == "firing"} == {"g/s01"}


def test_a_users_model_that_gives_nan_for_some_leaves_those_to_the_sentinel(tmp_path: Path) -> None:
    scorer = OnnxScorer(onnx_file(tmp_path / "own.onnx", 200.0))
    values = noise(130, 3)
    values[:, 1] = 3e38 * np.where(np.arange(130) % 2, 1, -1)  # overflows on its way into the model
    with np.errstate(all="ignore"):
        run = Run(values, ["g"] * 3, scorer, price=(0.0, 0.01), more={"model": {"path": str(tmp_path / "own.onnx")}})
        run.all()
    windows = run.windows
    assert windows["due"] == sum(n for name, n in windows.items() if name != "due") == 3 * 130
    assert windows["full"] >= 2 * 31


def test_a_model_that_wants_longer_windows_than_there_are_is_refused(tmp_path: Path) -> None:
    from stream.app.parts import scorer_of
    from stream.settings import from_mapping

    path = str(onnx_file(tmp_path / "own.onnx"))
    with pytest.raises(ModelError, match=r"wants windows of 16 steps, and windows\.size is 8"):
        scorer_of(from_mapping({"model": {"path": path}, "windows": {"size": 8}}))
