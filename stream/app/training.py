"""`heed model train|export`: synthetic worlds through the real monitor, then torch, then ONNX with its card."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from connectors.batch import SECOND
from connectors.clock import Stopwatch
from models.artifact import Card, read_card, write_card
from models.contract import F32, Look, Verdict
from models.dataset import Examples, concat
from models.export import Nets, answer, export, keep_weights, kept_weights, weigh
from models.quality import Quality, judge
from models.train import scores, train, train_lite, train_weight
from models.weight import WeightModel
from stream.app.capture import Scene, capture, weighed

MINUTE = 60 * SECOND
NAME, VERSION = "attention over evidence", "1"
WEIGHTS = "weights.npz"
LOADS = (8.0, 16.0, 8.0, 16.0)  # times what is affordable, while the gate's weight is learned
HELD_OUT, UNDER_LOAD = 500, 800  # seeds of worlds to be judged on, and of those for the weight
_KINDS: tuple[Mapping[str, Any], ...] = (
    {},
    {"step_ns": SECOND},
    {"step_ns": MINUTE, "warm": 3200},
    {"step_ns": 5 * MINUTE, "warm": 2400},
    {"group_size": (2, 8), "false_alarms": 1.0},
    {"step_ns": MINUTE, "warm": 3200, "group_size": (1, 4), "streams": 80},
)


def scenes(seed: int, worlds: int, first: int = 0) -> list[Scene]:
    """Worlds of each kind in turn, every other one rough; none has the seed of another."""
    return [_scene(1000 * (seed + 1) + first + i, i) for i in range(worlds)]


def _scene(seed: int, i: int) -> Scene:
    turn, kind = divmod(i, len(_KINDS))
    return Scene(seed, steps=1600, faults=160, rough=(turn + kind) % 2 == 1, **_KINDS[kind])


def train_and_export(out: str, seed: int, worlds: int, epochs: int, checkpoint: str | None = None) -> None:
    """Train on so many synthetic worlds, judge on others, and write the artifact to the folder ``out``.

    With ``checkpoint`` the trained weights are kept in that folder, for ``export_again``. The same seed gives the
    same networks on the same machine. Raises ModelError where the exported model differs from the trained one.
    """
    watch = Stopwatch()
    examples = _captured(scenes(seed, worlds))
    _say(f"{len(examples):,} frames of {worlds} worlds after {watch.seconds():.0f} s")
    model, _ = train(
        examples, seed, epochs, lambda epoch, loss: _say(f"epoch {epoch + 1} of {epochs}: loss {loss:.3f}")
    )
    lite, _ = train_lite(examples, seed, epochs)
    weight, _ = train_weight(*_under_load(seed, _Trained(model)), seed)
    nets = Nets(model, lite, weight)
    command = f"heed model train {out} --seed {seed} --worlds {worlds} --epochs {epochs}"
    card = Card(
        NAME,
        VERSION,
        training={
            "command": command,
            "seed": seed,
            "data": f"{len(examples)} frames of groups of {worlds} synthetic worlds, through the monitor",
        },
        quality=_quality(nets, scenes(seed, len(_KINDS) * 2, HELD_OUT)),
    )
    if checkpoint:
        _keep(Path(checkpoint), nets, card)
    _export(nets, Path(out), card)
    _say(f"{out}: written after {watch.seconds():.0f} s")


def export_again(checkpoint: str, out: str) -> None:
    """Export the networks kept in the folder ``checkpoint``; raises ModelError where there are none."""
    folder = Path(checkpoint)
    _export(kept_weights(folder / WEIGHTS), Path(out), read_card(folder))


def _keep(folder: Path, nets: Nets, card: Card) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keep_weights(nets, folder / WEIGHTS)
    write_card(folder, card)


def _export(nets: Nets, out: Path, card: Card) -> None:
    done = export(*nets, out, card, Stopwatch().seconds)
    worst = max(off for outputs in done.parity.values() for off in outputs.values())
    _say(f"{out}: no output differs from torch's by more than {worst:.1g}")


def _captured(all_scenes: Sequence[Scene]) -> Examples:
    parts = []
    for i, scene in enumerate(all_scenes):
        parts.append(capture(scene))
        _say(f"world {i + 1} of {len(all_scenes)}: {len(parts[-1]):,} frames")
    return concat(parts)


class _Trained:
    """A network in torch, as a scorer."""

    name, digest, window, cost = "trained", "", 128, (0.0, 0.0)

    def __init__(self, model: Any) -> None:
        self._model = model

    def score(self, look: Look) -> Verdict:
        """What it says."""
        return answer(self._model, look)


def _under_load(seed: int, scorer: _Trained) -> tuple[F32, F32]:
    """What the gate's weight learns from: first ranked by the gate alone, then by what was learned of that."""
    untrained = WeightModel()
    halves = [Scene(1000 * (seed + 1) + UNDER_LOAD + i, (i + 1) * SECOND // 4) for i in range(len(LOADS))]
    parts = [
        weighed(scene, scorer, lambda f: weigh(untrained, f), load) for scene, load in zip(halves, LOADS, strict=True)
    ]
    features, found = zip(*parts, strict=True)
    _say(f"{sum(map(len, found)):,} streams looked at under load")
    return np.concatenate(features), np.concatenate(found)


def _quality(nets: Nets, held_out: Sequence[Scene]) -> dict[str, Any]:
    """Of worlds that were not trained on: the mean of each figure, of the model, its lite twin and its prior."""
    told: dict[str, list[Quality]] = {"prior": [], "model": [], "lite": []}
    for scene in held_out:
        examples = capture(scene)
        said = judge(examples, scores(nets.model, examples))
        told["prior"].append(said["prior"])
        told["model"].append(said["model"])
        told["lite"].append(judge(examples, scores(nets.lite, examples))["model"])
    return {"worlds": len(held_out)} | {name: _means(qualities) for name, qualities in told.items()}


def _means(qualities: Sequence[Quality]) -> dict[str, float]:
    rows = [asdict(quality) for quality in qualities]
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
