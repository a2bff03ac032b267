"""`heed replay`: recorded streams through the very same loop, on a clock that the recording winds."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from connectors.clock import Clock, RecordedClock, ReplayClock
from connectors.keeping.outbox import Outbox
from connectors.recordings.recording import RecordingSource, heading
from connectors.recordings.replay import ReplaySource
from connectors.sink import Sink
from connectors.source import Source, SourceError
from models.contract import Scorer
from stream.app.labels import Located, read_labels
from stream.app.outputs import Tally, complain, deliver
from stream.app.parts import Cost, World, monitor_of, rules_of, scorer_of, world_of
from stream.app.writers import decisions_to, scores_to
from stream.config_text import ConfigError
from stream.faults import account
from stream.loop import Loop, Message
from stream.monitor import Monitor
from stream.price import parse_price, priced
from stream.settings import Settings, load, load_text
from stream.state import Passing
from stream.telling import teller


@dataclass(frozen=True, slots=True)
class Options:
    """What `heed replay` was asked for; paths as given."""

    files: Sequence[str]
    config: str | None = None
    rules: Sequence[str] = ()
    speed: float = 0.0  # times real time, 0 = as fast as it can
    budget: str | None = None
    price: str = "none"
    shed: bool = True
    overrides: Sequence[str] = ()
    labels: str | None = None
    alerts: str | None = None
    scores: str | None = None
    decisions: str | None = None
    sinks: dict[str, Sink] = field(default_factory=dict)
    progress: Callable[[float, Monitor], None] | None = None


def replay(options: Options) -> dict[str, Any]:
    """Run it; the summary. Raises ConfigError, SourceError, ModelError, SinkError."""
    files = expanded(options.files)
    labels = read_labels(options.labels) if options.labels else None
    recorded = _recorded(files)
    settings = _settings(options, recorded)
    clock = ReplayClock(speed=options.speed)
    world = world_of(clock, settings)
    scorer = scorer_of(settings)
    with ExitStack() as stack:
        source = _source(files, recorded is not None, world)
        stack.callback(source.close)
        seen, cost = _cost(options, clock, scorer, source)
        rules = rules_of(settings, Path(options.config) if options.config else None)
        monitor = monitor_of(settings, replace(world, clock=seen), rules, scorer, cost)
        monitor.judge_from = recorded.judge_from if recorded else 0
        tally = _observe(options, monitor, stack)
        known = None if labels is None else Located(labels, world.table)
        monitor.observers += [] if known is None else [known.observe]
        outbox = Outbox(options.sinks)
        tell = teller(world.table, scorer)

        def told(turn_told: Any) -> Message:
            message = tell(turn_told)
            tally.tell(message)
            return message

        loop = Loop(monitor, source, clock, world.partitions, Passing(outbox), told)
        _run(loop, source, monitor, tally, outbox, options)
        deliver(outbox)
    return tally.summary(monitor, {} if known is None else {"faults": account(known.labels, tally.fired, tally.opened)})


def expanded(files: Sequence[str]) -> list[str]:
    """Files of names and globs, each once; SourceError where nothing is there."""
    found: list[str] = []
    for name in files:
        matches = [name] if Path(name).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - a pattern as a shell would take it
        if not matches:
            raise SourceError(f"{name}: no such file")
        found += matches
    return list(dict.fromkeys(found))


def _recorded(files: Sequence[str]) -> Any:
    """The head of a recording of heed's own; None for other files. It can't be mixed with others."""
    heads = [heading(file) for file in files]
    if len(files) > 1 and any(heads):
        raise SourceError("a recording of heed's own is replayed alone: it keeps the turns of one run")
    return heads[0]


def _settings(options: Options, recorded: Any) -> Settings:
    overrides = list(options.overrides)
    if options.budget:
        overrides.append(f"budget.latency={options.budget}")
    if options.rules:
        overrides.append(f"rule_files={list(options.rules)}")
    if options.config is None and recorded is not None and recorded.config:
        return load_text(recorded.config, "the recording's config", overrides, need_sources=False)
    return load(options.config, overrides, need_sources=False)


def _source(files: Sequence[str], recorded: bool, world: World) -> Source:
    clock = world.clock
    assert isinstance(clock, ReplayClock)
    if recorded:
        return RecordingSource(files[0], world.table, world.partitions, clock)
    return ReplaySource(files, world.table, world.partitions, clock)


def _cost(options: Options, clock: ReplayClock, scorer: Scorer | None, source: Source) -> tuple[Clock, Cost]:
    """The clock that the monitor sees, and what looks cost on it."""
    if options.price == "auto" and isinstance(source, RecordingSource):
        seen = RecordedClock(clock, lambda: source.times)
        return seen, Cost(None, options.shed, lambda own: priced(own, seen, *source.heading.cost))
    try:
        price = scorer.cost if options.price == "auto" and scorer is not None else parse_price(options.price)
    except ValueError as error:
        raise ConfigError.of(f"--price: {error}") from error
    if price is None:
        return clock, Cost((0.0, 0.0), options.shed)
    fixed, each = price
    return clock, Cost(price, options.shed, lambda own: priced(own, clock, fixed, each))


def _observe(options: Options, monitor: Monitor, stack: ExitStack) -> Tally:
    tally = Tally()
    monitor.observers.append(tally.digest.observe)
    for path, written_to in ((options.scores, scores_to), (options.decisions, decisions_to)):
        if path:
            writer, observe = written_to(path, monitor.parts.table)
            stack.callback(writer.close)
            monitor.observers.append(observe)
    return tally


def _run(loop: Loop, source: Source, monitor: Monitor, tally: Tally, outbox: Outbox, options: Options) -> None:
    turns = 0
    while not source.done:
        tally.turn(loop.turn())
        turns += 1
        if turns % 64 == 0:
            complain(outbox)
            if options.progress is not None:
                options.progress(getattr(source, "progress", 0.0), monitor)
