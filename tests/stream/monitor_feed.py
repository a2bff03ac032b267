"""Small feeds and plain scorers for tests of the monitor: readings step by step on a replay clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from connectors.batch import SECOND, Batch, empty
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Store
from models.contract import Look, ModelError, Scorer, Verdict
from stream.app.parts import Cost, World, monitor_of, rules_of, world_of
from stream.ledger import FULL, GAP, LITE, OUTCOMES, SHED, WARMUP
from stream.loop import Loop
from stream.monitor import Monitor
from stream.price import priced
from stream.settings import from_mapping
from stream.state import Durable, Passing
from stream.telling import teller
from stream.turn import Turn
from stream.verdict import NOT_DUE, Verdicts

START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
LATENESS = 2 * SECOND
SIZE = 16


class Plain:
    """Scores by how far the newest value lies off; sees nothing but the stream itself."""

    name, digest, window, normalised = "plain", "0" * 64, SIZE, True
    cost = (0.001, 0.01)

    def __init__(self) -> None:
        self.calls = 0

    def score(self, look: Look) -> Verdict:
        self.calls += 1
        return Verdict(np.where(look.member >= 0, np.abs(look.values[..., -1]) / 10, 0).astype(np.float32))


class Broken(Plain):
    """Breaks at every call but the first few."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self._after = after

    def score(self, look: Look) -> Verdict:
        verdict = super().score(look)
        if self.calls > self._after:
            raise ModelError("the model broke")
        return verdict


class Mute(Plain):
    """Says NaN of every second member."""

    def score(self, look: Look) -> Verdict:
        score = super().score(look).score
        return Verdict(np.where(look.member % 2 == 1, np.nan, score).astype(np.float32))


class Feed:
    """Values [steps, streams], NaN = no reading, each read at its own time; a source with one partition."""

    def __init__(self, world: World, names: Sequence[str], groups: Sequence[str], values: Any, step: int) -> None:
        self._world, self._names, self._groups, self._values, self._step = world, names, groups, values, step
        self._partition = world.partitions.number("feed/0")
        self._next = 0
        self.done = False

    def seek(self, positions: Mapping[str, int]) -> None:
        self._next = positions.get("feed/0", 0)

    def poll(self, until: int) -> Batch:
        clock = self._world.clock
        at = START + self._next * self._step
        if at > clock.now():
            clock.wait(min(at, until))
        due = min((clock.now() - START) // self._step + 1, len(self._values))
        if due <= self._next:
            return empty(at_end=(self._partition,))
        rows, columns = np.nonzero(~np.isnan(self._values[self._next : due]))
        rows += self._next
        slots = [self._world.table.slot(self._names[c], self._groups[c], None, self._step) for c in columns.tolist()]
        ts = START + rows * self._step
        self._next, self.done = due, due == len(self._values)
        own = (self._partition,)
        return Batch(
            np.array(slots, np.int32), ts, ts, self._values[rows, columns],
            np.full(rows.size, self._partition, np.int32), rows.astype(np.int64), {self._partition: due},
            () if self.done else own, own if self.done else (),
        )  # fmt: skip

    def commit(self, positions: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Kept:
    """A sink that keeps what it is sent."""

    name: str = "kept"
    messages: list[dict[str, Any]] = field(default_factory=list)

    def send(self, messages: Sequence[Any]) -> None:
        self.messages += messages

    def close(self) -> None:
        pass


class Run:
    """A monitor over a feed, with everything an observer saw of it."""

    def __init__(
        self,
        values: Any,
        groups: Sequence[str],
        scorer: Scorer | None = None,
        price: tuple[float, float] | None = (0.0, 0.0),
        more: Mapping[str, Any] | None = None,
        step: int = SECOND,
        folder: Path | None = None,
        now: int = START,
        observe: Callable[[Verdicts], None] = lambda verdicts: None,
    ) -> None:
        windows = {"size": SIZE, "lateness": "2s", **(more or {}).get("windows", {})}
        self.settings = from_mapping({**(more or {}), "windows": windows})
        self.clock = ReplayClock(now)
        self.world = world_of(self.clock, self.settings)
        self.names = [f"{group}/s{i:02d}" for i, group in enumerate(groups)]
        self.seen: dict[tuple[str, int], str] = {}  # stream and step to its outcome, of every window judged
        self.ages: list[float] = []
        charge = (lambda own: priced(own, self.clock, *price)) if price and any(price) else (lambda own: own)
        cost = Cost(price, True, charge)
        self.monitor: Monitor = monitor_of(self.settings, self.world, rules_of(self.settings, None), scorer, cost)
        self.monitor.observers += [self._observe, observe]
        self.sink = Kept()
        self.outbox = Outbox({"kept": self.sink})
        self.keeper: Durable | Passing = Passing(self.outbox)
        if folder is not None:
            self.store = Store(folder)
            self.keeper = Durable(self.store, self.monitor, self.world.partitions, self.outbox, 5 * SECOND, 37 * SECOND)
        positions = self.keeper.restore()
        self.source = Feed(self.world, self.names, groups, values, step)
        self.source.seek(positions)
        tell = teller(self.world.table, scorer)
        self.loop = Loop(self.monitor, self.source, self.clock, self.world.partitions, self.keeper, tell)
        self.turns: list[Turn] = []

    def _observe(self, verdicts: Verdicts) -> None:
        for slot, code in zip(verdicts.tick.slots.tolist(), verdicts.outcome.tolist(), strict=True):
            assert code != NOT_DUE
            key = (self.world.table.names[slot], verdicts.tick.k)
            assert key not in self.seen, "a window is judged once"
            self.seen[key] = OUTCOMES[code]
        self.ages += verdicts.age[verdicts.outcome == FULL].tolist()

    def all(self) -> Run:
        """To the end."""
        while not self.source.done:
            self.turns.append(self.loop.turn())
        self.keeper.close(self.clock.now(), self.loop.progress)
        return self

    def some(self, turns: int) -> None:
        """A few turns, then as after kill -9."""
        while turns and not self.source.done:
            self.turns.append(self.loop.turn())
            turns -= 1
        self.outbox.close()
        self.store.close()

    @property
    def changes(self) -> list[Any]:
        """Alert changes told."""
        return [told.change for turn in self.turns for told in turn.told]

    @property
    def windows(self) -> dict[str, int]:
        """The ledger's totals."""
        return self.monitor.parts.ledger.windows()

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What was noted for the log under this name."""
        return [details for turn in self.turns for said, details in turn.notes if said == name]


def due(values: Any, every: int = 1) -> list[int]:
    """Windows due per stream, counted one by one: from its first reading to its last, or to the watermark.

    For steps of a second, and values with a reading in the last row.
    """
    mark = len(values) - 1 - LATENESS // SECOND - 1  # the last step closed before the end was told
    first_k = START // SECOND
    counts = []
    for column in values.T:
        there = np.flatnonzero(~np.isnan(column))
        last = max(there[-1], mark) if there.size else -1
        first = there[0] if there.size else 0
        counts.append(sum((first_k + k) % every == 0 for k in range(first, last + 1)))
    return counts


def noise(steps: int, streams: int, seed: int = 0, gaps: float = 0.0) -> Any:
    """Quiet values around 100, with readings missing at random."""
    rng = np.random.default_rng(seed)
    values = 100 + rng.normal(size=(steps, streams))
    values[rng.random(values.shape) < gaps] = np.nan
    return values


__all__ = [
    "FULL", "GAP", "LITE", "SHED", "SIZE", "START", "WARMUP", "Broken", "Feed", "Kept", "Mute", "Plain", "Run", "due",
    "noise",
]  # fmt: skip
