"""What a user might run instead, by name, on the same readings: how many readings a second one core takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import SECOND
from connectors.clock import Stopwatch
from connectors.synthetic import World

Floats = npt.NDArray[np.float64]
Peer = Callable[[Floats], object]  # takes one step, a reading of every stream [streams]

WINDOW = 128
_STREAMS = 100  # of those that take one reading at a time


def measure(streams: int, seconds: float) -> dict[str, Any]:
    """Readings per CPU second of each peer, after some warm-up, for about ``seconds`` each.

    ``found`` are name, readings a second and streams; ``skipped`` tells what could not be measured.
    """
    few = World(_STREAMS, step_ns=SECOND).step(0, 2 * WINDOW)
    many = World(streams, step_ns=SECOND).step(0, 8)
    columns = _columns(streams)
    found = [
        _timed(f"numpy z-score over {WINDOW}, a reading at a time", _numpy_rings(_STREAMS), few, seconds),
        _timed("numpy averaged z-score, all streams in columns", columns, many, seconds),
    ]
    try:
        version = metadata.version("river")
        rivers = [("rolling z-score", _river_z(_STREAMS)), ("HalfSpaceTrees", _river_trees(_STREAMS))]
    except ImportError as error:
        return {"found": found, "skipped": [f"river is not installed ({error}): pip install river"]}
    found += [_timed(f"river {version} {name}", peer, few, seconds) for name, peer in rivers]
    return {"found": found, "skipped": []}


def _timed(name: str, peer: Peer, values: Floats, seconds: float) -> dict[str, Any]:
    values = np.nan_to_num(values)
    for row in values[: len(values) // 4]:
        peer(row)
    watch, steps = Stopwatch(), 0
    while watch.cpu_seconds() < seconds:
        peer(values[steps % len(values)])
        steps += 1
    rate = steps * values.shape[1] / watch.cpu_seconds()
    return {"name": name, "streams": values.shape[1], "readings_per_second": round(rate)}


def _numpy_rings(streams: int) -> Peer:
    """The plain way: a ring of readings for each stream, and its mean and deviation at each reading."""
    rings, at = [np.zeros(WINDOW) for _ in range(streams)], 0

    def step(values: Floats) -> Sequence[float]:
        nonlocal at
        at = (at + 1) % WINDOW
        scores = []
        for ring, value in zip(rings, values.tolist(), strict=True):
            scores.append(abs(value - ring.mean()) / (ring.std() + 1e-9))
            ring[at] = value
        return scores

    return step


def _columns(streams: int) -> Peer:
    """The quickest there is: averaged mean and square of all streams at once. One channel, nothing calibrated."""
    mean, square, rate = np.zeros(streams, np.float32), np.ones(streams, np.float32), np.float32(2 / WINDOW)

    def step(values: Floats) -> npt.NDArray[np.float32]:
        off = values.astype(np.float32) - mean
        scores: npt.NDArray[np.float32] = np.abs(off) / np.sqrt(square)
        np.add(mean, rate * off, out=mean)
        np.add(square, rate * (off * off - square), out=square)
        return scores

    return step


def _river_z(streams: int) -> Peer:
    rolling, stats = import_module("river.utils").Rolling, import_module("river.stats")
    known = [(rolling(stats.Mean, WINDOW), rolling(stats.Var, WINDOW)) for _ in range(streams)]

    def step(values: Floats) -> Sequence[float]:
        scores = []
        for (mean, variance), value in zip(known, values.tolist(), strict=True):
            scores.append(abs(value - mean.get()) / (variance.get() ** 0.5 + 1e-9))
            mean.update(value)
            variance.update(value)
        return scores

    return step


def _river_trees(streams: int) -> Peer:
    trees = [import_module("river.anomaly").HalfSpaceTrees(seed=0) for _ in range(streams)]

    def step(values: Floats) -> Sequence[float]:
        scores = []
        for tree, value in zip(trees, values.tolist(), strict=True):
            reading = {"value": value}
            scores.append(tree.score_one(reading))
            tree.learn_one(reading)
        return scores

    return step
