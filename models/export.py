"""From torch to ONNX: every output is proven equal to torch's before the card is written."""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.artifact import CARD, LITE, MODEL, WEIGHT, Card, stamp, write_card
from models.attention import WINDOW, AttentionModel, LiteModel
from models.contract import F32, Look, ModelError, Verdict
from models.gating import INPUTS
from models.probe import measure_cost, probe_look, wave, worst
from models.scorer import OnnxScorer, WeightScorer
from models.selftest import probe_answers, shapes_of
from models.signature import OUTPUTS
from models.weight import WeightModel

OPSET = 20  # the first with Gelu; onnxruntime 1.20, the oldest that heed takes, knows it
PARITY = 1e-5  # the most that any output may differ from torch's
TRACED = (3, 5, 7)  # groups, admitted, members of the look that is traced: all different, none 1
SHAPES = ((1, 1, 1), (2, 3, 5), (4, 32, 32), (1, 2, 64), (7, 5, 9))  # of the looks on which parity is proven
_G, _A, _S = Dim("G"), Dim("A"), Dim("S")
_DIMS = {
    "values": {0: _G, 1: _A},
    "mask": {0: _G, 1: _A},
    "member": {0: _G, 1: _A},
    "evidence": {0: _G, 1: _S},
    "present": {0: _G, 1: _S},
    "features": {0: Dim("n")},
}


class Nets(NamedTuple):
    """What an artifact is exported from."""

    model: AttentionModel
    lite: LiteModel
    weight: WeightModel


def export(
    model: AttentionModel,
    lite: LiteModel,
    weight: WeightModel,
    out_dir: Path,
    card: Card,
    timer: Callable[[], float] | None = None,
    measured_on: str = "",
) -> Card:
    """Write an artifact and return its card; raises ModelError where an output differs from torch's.

    ``card`` says name, version, training and quality; the rest is filled in here. With a ``timer`` (seconds that
    pass) the cost is measured on this machine, one thread.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / CARD).unlink(missing_ok=True)  # the card comes last: without one this is no artifact yet
    traced = _tensors(probe_look(*TRACED))
    _write(model, {n: traced[n] for n in _FULL}, tuple(OUTPUTS), out_dir / MODEL)
    _write(lite, {n: traced[n] for n in _LITE}, ("score",), out_dir / LITE)
    _write(weight, {"features": torch.from_numpy(wave((5, INPUTS), 0))}, ("weight",), out_dir / WEIGHT)
    names = (MODEL, LITE, WEIGHT)
    done = replace(
        card,
        window=WINDOW,
        normalised=True,
        opset=OPSET,
        parity=_proven(model, lite, weight, out_dir),
        files={name: stamp(out_dir / name) for name in names},
        shapes={name: shapes_of(out_dir / name) for name in names},
        probe=probe_answers(out_dir),
        cost=_cost(out_dir, timer, measured_on) if timer else card.cost,
        created_with=_versions(),
    )
    write_card(out_dir, done)
    return done


def untrained(out_dir: Path, seed: int = 0, timer: Callable[[], float] | None = None) -> Card:
    """Export a model that says what its prior says, and a weight that ranks as the gate does without training."""
    torch.manual_seed(seed)
    card = Card("untrained", "0", training={"seed": seed, "data": "none: the score is the evidence's own"})
    return export(AttentionModel(), LiteModel(), WeightModel(), out_dir, card, timer)


def keep_weights(nets: Nets, path: Path) -> None:
    """Write trained weights to a ``.npz`` file."""
    named = zip(Nets._fields, nets, strict=True)
    arrays = {f"{net}/{name}": w.numpy() for net, each in named for name, w in each.state_dict().items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def kept_weights(path: Path) -> Nets:
    """The networks whose weights ``keep_weights`` wrote; raises ModelError where the file holds others."""
    nets = Nets(AttentionModel(), LiteModel(), WeightModel())
    try:
        with np.load(path, allow_pickle=False) as file:
            for net, each in zip(Nets._fields, nets, strict=True):
                own = {n.removeprefix(f"{net}/"): file[n] for n in file.files if n.startswith(f"{net}/")}
                each.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not the weights of these networks: {error}") from None
    return nets


def parity(model: nn.Module, path: Path, seed: int = 0) -> dict[str, float]:
    """Per output the largest absolute difference between a network and its ONNX file, over looks of all SHAPES."""
    scorer, off = OnnxScorer(path), dict.fromkeys(OUTPUTS, 0.0)
    for i, shape in enumerate(SHAPES):
        look = probe_look(*shape, seed=seed + i)
        verdict, wanted = scorer.score(look), answer(model, look)
        for name in off:
            said, true = getattr(verdict, name), getattr(wanted, name)
            off[name] = max(off[name], 0.0 if said is None and true is None else worst(said, true))
    return {name: off[name] for name in scorer.signature.outputs}


def weight_parity(model: WeightModel, path: Path, seed: int = 0) -> dict[str, float]:
    """The same for the gate's weight."""
    features = wave((257, INPUTS), seed) * np.float32(3)
    return {"weight": worst(WeightScorer(path).weights(features), weigh(model, features))}


def answer(model: nn.Module, look: Look) -> Verdict:
    """What a network says of a look, in torch."""
    arrays = _tensors(look)
    with torch.no_grad(), _evaluating(model):
        if isinstance(model, LiteModel):
            return Verdict(model(*(arrays[n] for n in _LITE)).numpy())
        return Verdict(*(each.numpy() for each in model(*(arrays[n] for n in _FULL))))


def weigh(model: WeightModel, features: F32) -> F32:
    """What the weight's network says of gate features, in torch."""
    with torch.no_grad(), _evaluating(model):
        weights: F32 = model(torch.from_numpy(features)).numpy()
        return weights


_FULL = ("values", "mask", "member", "evidence", "present")
_LITE = ("evidence", "present", "member")


def _tensors(look: Look) -> dict[str, Tensor]:
    return {name: torch.from_numpy(getattr(look, name)) for name in _FULL}


def _proven(model: nn.Module, lite: nn.Module, weight: WeightModel, folder: Path) -> dict[str, dict[str, float]]:
    off = {
        MODEL: parity(model, folder / MODEL),
        LITE: parity(lite, folder / LITE),
        WEIGHT: weight_parity(weight, folder / WEIGHT),
    }
    for name, outputs in off.items():
        for output, error in outputs.items():
            if not error <= PARITY:
                raise ModelError(f"{folder / name}: {output} differs from torch by {error:.2g}, allowed are {PARITY}")
    return off


def _write(net: nn.Module, arrays: Mapping[str, Tensor], outputs: tuple[str, ...], path: Path) -> None:
    with _evaluating(net), _quiet():
        program = torch.onnx.export(
            net,
            tuple(arrays.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={name: _DIMS[name] for name in arrays},
            input_names=list(arrays),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise ModelError(f"{path}: the exporter gave nothing")
    graph = _lean(program.model_proto)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _lean(graph: Any) -> Any:
    """The graph without what the exporter notes about each node: it is longer than the weights."""
    del graph.metadata_props[:]
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for part in graph.graph.initializer:
        del part.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    return graph


def _cost(folder: Path, timer: Callable[[], float], measured_on: str) -> dict[str, Any]:
    fixed, each = measure_cost(OnnxScorer(folder / MODEL), timer)
    on = measured_on or f"{platform.machine()}, {platform.system()}"
    return {"fixed_seconds": fixed, "each_seconds": each, "measured_on": f"{on}, 1 thread"}


def _versions() -> dict[str, str]:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@contextlib.contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """The network without dropout, and afterwards as it was."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks much on success; what goes wrong it raises."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
