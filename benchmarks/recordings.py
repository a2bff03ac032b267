"""Recordings to measure with: seeded synthetic streams, written as the long Parquet that anyone would bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.batch import SECOND
from connectors.recordings.columnfile import ColumnFile, numbers, texts, times
from connectors.recordings.recording import COLUMNS
from connectors.synthetic import World

LONG = ("ts", "stream", "group", "value")
_ROWS_A_GROUP = 500_000


def record(path: Path, streams: int, steps: int, seed: int = 0, faults: bool = True) -> Path:
    """Write ``steps`` steps of ``streams`` streams at 1 Hz, one fault or so for every ten steps; returns ``path``.

    The same arguments give the same readings.
    """
    world = World(streams, seed, step_ns=SECOND)
    if faults:
        world.plan(world.start_ns, world.start_ns + steps * SECOND)
    file = ColumnFile(path, {name: COLUMNS[name] for name in LONG})
    at_once = max(1, _ROWS_A_GROUP // streams)
    for first in range(0, steps, at_once):
        _write(file, world, first, min(at_once, steps - first))
    file.close()
    return path


def _write(file: ColumnFile, world: World, first: int, steps: int) -> None:
    """One row group: readings in the order of time; what a fault swallowed has no row."""
    values = world.step(first, steps).ravel()
    stream = np.tile(np.arange(len(world)), steps)
    ts = world.start_ns + SECOND * np.repeat(np.arange(first, first + steps), len(world))
    there = np.isfinite(values)
    stream, ts, values = stream[there], ts[there], values[there]
    columns = {"ts": times(ts), "stream": texts(stream, world.names), "group": texts(stream, world.groups)}
    file.write(columns | {"value": numbers(values)})
