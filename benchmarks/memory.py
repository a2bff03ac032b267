"""How many bytes a stream costs: resident memory of the real monitor, fed from a few columns in memory."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from connectors.batch import SECOND, Batch, PartitionTable, StreamTable, empty
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.synthetic import World
from stream.app.parts import Cost, monitor_of, rules_of, scorer_of, world_of
from stream.loop import Loop
from stream.price import priced
from stream.settings import load
from stream.state import Passing
from stream.telling import teller

_START = World(1).start_ns
_GROUP = 16  # streams
_AFFORDED = 1000  # looks a step, so that the gate and the model have worked


def measure(streams: int, steps: int, evidence: str, model: bool) -> dict[str, Any]:
    """Resident bytes after ``steps`` steps of 1 s of ``streams`` streams, ``evidence`` full or lean.

    ``at_rest`` is after free memory was given back to the system; ``running`` as the last step left it.
    """
    clock = ReplayClock(_START)
    name = "builtin" if model else "none"
    settings = load(None, [f"evidence={evidence}", f"model.name={name}"], need_sources=False)
    world, scorer = world_of(clock, settings), scorer_of(settings)
    each = settings.budget.latency / 1e9 / _AFFORDED
    cost = Cost((0.0, each), wrap=lambda own: priced(own, clock, 0.0, each))
    monitor = monitor_of(settings, world, rules_of(settings, None), scorer, cost)
    source = Feed(streams, steps, world.table, world.partitions, clock)
    loop = Loop(monitor, source, clock, world.partitions, Passing(Outbox({})), teller(world.table, scorer))
    while source.left:
        loop.turn()
    running = resident()
    _give_back()
    return {"streams": streams, "running": running, "at_rest": resident()}


class Feed:
    """One step of all streams a poll, made as it is asked for."""

    def __init__(
        self, streams: int, steps: int, table: StreamTable, partitions: PartitionTable, clock: ReplayClock
    ) -> None:
        self._clock, self.left, self._at, self.done = clock, steps, 0, False
        self._partition = partitions.number("memory/0")
        slots = [_slot(table, n) for n in range(streams)]
        self._slots = np.array(slots, np.int32)
        self._of = np.full(streams, self._partition, np.int32)
        self._rng = np.random.default_rng(0)

    def poll(self, until: int) -> Batch:
        """The next step; it has come at its own time."""
        if not self.left:
            return empty(at_end=(self._partition,))
        n, now = len(self._slots), _START + self._at * SECOND
        self._clock.wait(now)
        values, when = self._rng.standard_normal(n), np.full(n, now)
        offset = np.arange(self._at * n, (self._at + 1) * n)
        self._at, self.left = self._at + 1, self.left - 1
        moved = {self._partition: self._at * n}
        return Batch(self._slots, when, when, values, self._of, offset, moved, (self._partition,))

    def seek(self, positions: Mapping[str, int]) -> None:
        """It has one beginning."""

    def commit(self, positions: Mapping[str, int]) -> None:
        """Nobody wants to know."""

    def close(self) -> None:
        """There is nothing to let go of."""


def _slot(table: StreamTable, n: int) -> int:
    group = f"machine{n // _GROUP:05d}"
    return table.slot(f"{group}/sensor{n % _GROUP:02d}", group, None, SECOND)


def resident() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
