"""A monitor from settings: every part made and handed to those that need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connectors.batch import PartitionTable, StreamTable
from connectors.clock import Clock
from models.contract import ModelError, Scorer
from models.scorer import OnnxScorer, WeightScorer
from stream.budget import Budget
from stream.gate import Gate
from stream.groups import Groups
from stream.ledger import Ledger
from stream.log import get
from stream.looks import Looks
from stream.monitor import Monitor
from stream.parts import Parts
from stream.registry import Registry
from stream.rules.alert import Alerts
from stream.rules.incident import Incidents
from stream.rules.rule import Rule
from stream.rules.rule_file import built_in, load_rules
from stream.sentinel import Sentinel
from stream.settings import Settings, StreamRules, TimeInterval, rule_paths
from stream.windows import Windows

BUILTIN = Path(__file__).parents[2] / "models" / "builtin"
UNLIMITED = 1 << 61  # ns: a latency budget nobody reaches


@dataclass(frozen=True, slots=True)
class World:
    """What all parts of one run share."""

    clock: Clock
    table: StreamTable
    partitions: PartitionTable


@dataclass(frozen=True, slots=True)
class Cost:
    """What looks cost: as measured (None), or an exact price (seconds a call, seconds a stream)."""

    exact: tuple[float, float] | None = None
    shed: bool = True
    wrap: Callable[[Scorer], Scorer] = lambda scorer: scorer


def world_of(clock: Clock, settings: Settings) -> World:
    """New tables for a run on this clock."""
    return World(clock, StreamTable(settings.limits.streams), PartitionTable())


def scorer_of(settings: Settings) -> Scorer | None:
    """The model, loaded and checked; None for ``model: none``. Raises ModelError."""
    if settings.model.name == "none":
        return None
    path = Path(settings.model.path) if settings.model.path else BUILTIN
    scorer: Scorer = OnnxScorer(path, threads=settings.budget.cores)
    if scorer.window > settings.windows.size:
        raise ModelError(f"{path}: wants windows of {scorer.window} steps, and windows.size is {settings.windows.size}")
    get().info("model.loaded", name=scorer.name, digest=scorer.digest, path=str(path))
    return scorer


def rules_of(settings: Settings, config: Path | None) -> list[Rule]:
    """The rules of the files that the settings name (relative to the config file); without any, the built-in ones."""
    paths = rule_paths(settings, config.parent if config else Path())
    return load_rules(paths, intervals_of(settings)) if paths else built_in()


def intervals_of(settings: Settings) -> dict[str, TimeInterval]:
    """The named times that rules may ask for."""
    return {interval.name: interval for interval in settings.time_intervals}


def monitor_of(settings: Settings, world: World, rules: list[Rule], scorer: Scorer | None, cost: Cost) -> Monitor:
    """A monitor and all its parts."""
    w, budget = settings.windows, settings.budget
    windows = Windows(w.size, w.lateness, w.future, w.idle, w.ttl)
    sentinel = Sentinel(settings.evidence, settings.model.false_alarms, tokens=scorer is not None)
    groups, ledger = Groups(), Ledger()
    gate = None if scorer is None else _gate(settings)
    stream_rules = StreamRules(settings.streams)
    registry = Registry(
        world.table,
        stream_rules,
        windows,
        sentinel,
        gate,
        groups,
        ledger,
        budget.blind,
        w.every,
        settings.time_intervals,
    )
    latency = budget.latency if cost.shed else UNLIMITED
    looks = None
    if scorer is not None:
        wrapped = cost.wrap(scorer)
        money = Budget(latency, cost.exact or wrapped.cost, budget.slack, cost.exact is not None)
        looks = Looks(wrapped, windows, sentinel, groups, money, world.clock)
    alerts = Alerts(rules, world.table, intervals_of(settings))
    parts = Parts(
        world.table, windows, groups, sentinel, gate, looks, alerts, Incidents(), ledger, registry, world.clock,
    )  # fmt: skip
    return Monitor(parts, latency, w.every)


def _gate(settings: Settings) -> Gate:
    """The gate of the policy that is set."""
    gate = Gate(settings.budget.policy, settings.budget.explore)
    weigher = _weigher(settings) if settings.budget.policy == "weight" else None
    gate.weigher = weigher.weights if weigher is not None else None
    return gate


def _weigher(settings: Settings) -> WeightScorer | None:
    """The gate's own net, beside the model; without one the group-relative gate ranks."""
    path = Path(settings.model.path) if settings.model.path else BUILTIN
    file = path / "weight.onnx"
    return WeightScorer(file) if path.is_dir() and file.exists() else None
