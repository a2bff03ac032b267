"""Examples for training: what the real monitor shows a model of the synthetic world, and what was true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.synthetic import FAULTS, Fault, SyntheticSource
from connectors.synthetic import World as Streams
from connectors.synthetic.world import START_NS
from models.baseline import PRIOR, SentinelScorer
from models.contract import F32, Look, Scorer, Verdict
from models.dataset import NO_FAULT, Examples
from stream.app.parts import Cost, monitor_of, world_of
from stream.app.rough import Rough
from stream.budget import Budget
from stream.ledger import FULL, SHED
from stream.looks import Looks
from stream.loop import FOREVER, Loop
from stream.monitor import Monitor
from stream.price import priced
from stream.settings import Settings, from_mapping
from stream.state import Passing
from stream.verdict import Verdicts

I32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Rng = np.random.Generator

VISIBLE = 2.0  # local standard deviations by which a fault has to move a value before it can be seen
AFTER = 60  # steps after a fault in which a stream is neither well nor ill
UNTAUGHT = ("stuck", "dropout")  # rules of their own find them; a quiet stream must not look like a fault
CLEAN_SHARE = 0.08  # of the frames without a fault that are kept
HARD, HARD_SHARE = 0.5, 0.25  # of those in which the sentinel scores a stream so high
ELSE_SHARE = 0.04  # of the groups in which the model found nothing, for the gate's weight
UNLOADED = 200  # steps before the first one taken in which the gate is already at work
POSITIVE = 0.75  # a score from here on is worth the gate's attention


@dataclass(frozen=True, slots=True)
class Scene:
    """One synthetic world: ``warm`` steps pass before anything is taken from the ``steps`` that follow."""

    seed: int
    step_ns: int = SECOND // 4
    streams: int = 240
    group_size: tuple[int, int] = (8, 24)
    warm: int = 1000
    steps: int = 800
    faults: int = 100
    rough: bool = False
    false_alarms: float = 0.1  # nominal, per stream and day: where the alarm boundary lies

    @property
    def first_ns(self) -> int:
        """When taking begins."""
        return START_NS + self.warm * self.step_ns

    def world(self) -> Streams:
        """The streams, without any fault."""
        make = partial(Rough, self.warm + self.steps) if self.rough else Streams
        return make(self.streams, self.seed, self.step_ns, group_size=self.group_size)

    def troubled(self) -> Streams:
        """The same streams with faults of all kinds, and look-alikes."""
        world = self.world()
        world.plan(self.first_ns, self.first_ns + self.steps * self.step_ns, FAULTS, self.faults)
        return world


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of each step taken [steps] and stream [streams]: as in Examples."""

    target: F32
    fault: I32


def truth_of(scene: Scene, world: Streams) -> Truth:
    """1 where a fault has visibly moved a value, NaN elsewhere in it and for a while after it, else 0."""
    target = np.zeros((scene.steps, len(world)), np.float32)
    number = np.full(target.shape, NO_FAULT, np.int32)
    clean, values = (each.step(scene.warm, scene.steps) for each in (scene.world(), world))
    usual = world.usual if isinstance(world, Rough) else 0.0
    seen = np.abs(values - clean) >= (VISIBLE + usual) * world.sd
    for i, fault in enumerate(f for f in world.faults if f.kind == "fault"):
        steps, columns = _place(fault, scene, world)
        after = slice(steps.stop, steps.stop + AFTER)
        target[steps, columns] = target[after, columns] = np.nan
        if fault.name not in UNTAUGHT:
            shown = seen[steps, columns]
            target[steps, columns] = np.where(shown, np.float32(1), np.float32(np.nan))
            number[steps, columns] = np.where(shown, np.int32(i), np.int32(NO_FAULT))
    return Truth(target, number)


def _place(fault: Fault, scene: Scene, world: Streams) -> tuple[slice, list[int]]:
    """Steps, counted from the first one taken, and columns of a fault."""
    first, last = ((at - world.start_ns) // world.step_ns - scene.warm for at in (fault.start, fault.end))
    return slice(first, last), [world.layout.slot_of[name] for name in fault.streams]


class Witness:
    """Answers as the scorer it stands before, and remembers the last look."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer, self.name, self.digest, self.window = scorer, scorer.name, scorer.digest, scorer.window
        self.cost = scorer.cost
        self.look: Look | None = None

    def score(self, look: Look) -> Verdict:
        """What the scorer says."""
        self.look = look
        return self._scorer.score(look)


class Frames:
    """Watches a monitor in which every look is free: keeps the frames of groups in a fault, and some others."""

    def __init__(self, monitor: Monitor, witness: Witness, scene: Scene, truth: Truth) -> None:
        self._monitor, self._witness, self._scene, self._truth = monitor, witness, scene, truth
        self._rng = np.random.default_rng(scene.seed)
        self._parts: list[Examples] = []

    def observe(self, verdicts: Verdicts) -> None:
        """One step: all groups were looked at in one look."""
        at = (verdicts.tick.start - self._scene.first_ns) // self._scene.step_ns
        look = self._witness.look
        if look is None or not 0 <= at < self._scene.steps:
            return
        groups = self._monitor.parts.groups
        panels = np.unique(groups.of[verdicts.tick.slots[verdicts.outcome == FULL]])
        slots = groups.slots[panels, : look.present.shape[1]]
        target = np.where(slots >= 0, self._truth.target[at, slots], np.float32(np.nan))
        hard = (look.evidence[:, :, 0, PRIOR] * (target == 0)).max(1) >= HARD
        share = np.where(hard, HARD_SHARE, CLEAN_SHARE)
        kept = (target == 1).any(1) | (self._rng.uniform(size=len(panels)) < share)
        if kept.any():
            fault = np.where(slots >= 0, self._truth.fault[at, slots], np.int32(NO_FAULT))
            self._parts.append(_frames(look, target, fault, kept))
        self._witness.look = None

    def examples(self) -> Examples:
        """All that was kept."""
        names = self._parts[0].columns()
        wide = max(part.present.shape[1] for part in self._parts)
        return Examples(
            **{n: np.concatenate([_widened(part.columns()[n], wide) for part in self._parts]) for n in names}
        )


def _widened(column: npt.NDArray[np.generic], wide: int) -> npt.NDArray[np.generic]:
    """The column with rows for members that a frame did not need; they are absent."""
    empty = NO_FAULT if column.dtype == np.int32 else 0
    missing = [(0, 0), (0, wide - column.shape[1])] + [(0, 0)] * (column.ndim - 2)
    return np.pad(column, missing, constant_values=empty)


def _frames(look: Look, target: F32, fault: I32, kept: Bools) -> Examples:
    """Looked-at streams of the kept groups put where they stand in their group; others are not judged."""
    group, place = np.nonzero((look.member >= 0) & kept[:, None])
    member = look.member[group, place]
    values = np.zeros((*look.present.shape, look.values.shape[2]), np.float32)
    mask = np.zeros(values.shape, np.bool_)
    asked = np.zeros(look.present.shape, np.bool_)
    values[group, member], mask[group, member] = look.values[group, place], look.mask[group, place]
    asked[group, member] = True
    target = np.where(asked, target, np.float32(np.nan))
    return Examples(values, mask, look.evidence, look.present, target, fault).take(kept)


class Weighed:
    """Watches a monitor under load: what the gate knew of each stream, and what a full look would have found."""

    def __init__(self, monitor: Monitor, scorer: Scorer, rank: Callable[[F32], F32], scene: Scene) -> None:
        parts, looks = monitor.parts, monitor.parts.looks
        assert looks is not None
        free = Budget(FOREVER, (0.0, 0.0), exact=True)
        self._everyone = Looks(scorer, parts.windows, parts.sentinel, parts.groups, free, parts.clock)
        self._groups, self._scene, self._rank = parts.groups, scene, rank
        self._rng = np.random.default_rng(scene.seed)
        self._features: F32 | None = None
        self._kept: list[tuple[F32, F32]] = []
        assert parts.gate is not None
        parts.gate.weigher = self.weigh

    def weigh(self, features: F32) -> F32:
        """Stands in the gate: ranks as told, and remembers what it was told."""
        self._features = features
        return self._rank(features)

    def observe(self, verdicts: Verdicts) -> None:
        """One step: look at all that were due, with no consequence for the run."""
        if self._features is None or verdicts.tick.start < self._scene.first_ns:
            return
        due = verdicts.tick.slots[np.isin(verdicts.outcome, (FULL, SHED))]
        found = self._everyone.look(verdicts.tick, due, FOREVER)
        score = np.empty(len(due), np.float32)
        score[np.searchsorted(due, found.slots)] = found.score
        panel = self._groups.of[due]
        worth = np.zeros(len(self._groups), bool)
        np.logical_or.at(worth, panel, score >= POSITIVE)
        kept = (worth | (self._rng.uniform(size=len(worth)) < ELSE_SHARE))[panel]
        self._kept.append((self._features[kept], score[kept]))
        self._features = None

    def columns(self) -> tuple[F32, F32]:
        """Gate features [n, 16] and scores [n]."""
        features, scores = zip(*self._kept, strict=True)
        return np.concatenate(features), np.concatenate(scores)


def capture(scene: Scene) -> Examples:
    """Frames of a scene for the full look, as a monitor that can afford everything sees them."""
    world, clock = scene.troubled(), ReplayClock(scene.first_ns)
    witness = Witness(SentinelScorer())
    loop, monitor = _stage(scene, world, clock, witness, Cost((0.0, 0.0)))
    frames = Frames(monitor, witness, scene, truth_of(scene, world))
    monitor.observers.append(frames.observe)
    loop.run()
    return frames.examples()


def weighed(scene: Scene, scorer: Scorer, rank: Callable[[F32], F32], load: float) -> tuple[F32, F32]:
    """Gate features and the model's scores, as a monitor meets them under ``load`` times what it affords."""
    clock, budget = ReplayClock(scene.first_ns), Settings().budget
    each = budget.latency * (1 - budget.slack) / SECOND * load / scene.streams
    price = Cost((0.0, each), wrap=lambda own: priced(own, clock, 0.0, each))
    loop, monitor = _stage(scene, scene.troubled(), clock, scorer, price)
    watch = Weighed(monitor, scorer, rank, scene)
    monitor.observers.append(watch.observe)
    loop.run()
    return watch.columns()


def _stage(scene: Scene, world: Streams, clock: ReplayClock, scorer: Scorer, cost: Cost) -> tuple[Loop, Monitor]:
    """A monitor on the scene, and the loop that takes it through; what passed before it was there is backlog."""
    settings = from_mapping({"model": {"false_alarms": scene.false_alarms}, "budget": {"blind": "365d"}})
    shared = world_of(clock, settings)
    monitor = monitor_of(settings, shared, [], scorer, cost)
    monitor.judge_from = scene.first_ns - UNLOADED * scene.step_ns
    end = scene.first_ns + scene.steps * scene.step_ns
    source = SyntheticSource(world, shared.table, shared.partitions, clock, end_ns=end)
    return Loop(monitor, source, clock, shared.partitions, Passing(Outbox({})), lambda told: {}), monitor
