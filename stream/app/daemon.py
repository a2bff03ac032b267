"""`heed run`: the daemon. Opens, restores, turns, and ends in order: stop polling, commit, deliver, close."""

from __future__ import annotations

import gc
import os
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.clock import Clock, WallClock
from connectors.keeping.outbox import Outbox
from connectors.keeping.store import Commit, Store
from connectors.source import Source, SourceError
from models.contract import Scorer
from stream import __version__
from stream.app.notify import notifier_of
from stream.app.parts import Cost, monitor_of, rules_of, scorer_of, world_of
from stream.app.publish import Publisher, publisher
from stream.app.record import recorder_to
from stream.app.reload import Loaded, Reloader
from stream.app.rerouting import Rerouter
from stream.app.roster import Roster
from stream.app.sharing import shared_sinks, state_topic
from stream.app.sinks import outbox_of
from stream.app.sources import problems_of, remind, sources_of
from stream.log import get, setup
from stream.loop import Loop, Message
from stream.rules.message import message
from stream.settings import Settings, findings, load, split_address
from stream.shared import Shared
from stream.state import Durable, Passing
from stream.telemetry import UNUSED
from stream.telling import teller
from stream.turn import Told

SOFTWARE = 70  # exit code: a fault in heed itself
MINUTE = 60_000_000_000  # ns
SUPERVISOR = "HEED_SUPERVISOR"  # in the environment of a worker: the process id of the one that started it
POLL = 250_000_000  # ns a poll waits at most
MOST_TOLD = 500  # alert changes that one turn tells


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `heed run` was asked for."""

    config: str | None
    record: str | None = None
    rules: Sequence[str] = ()
    overrides: Sequence[str] = ()
    web: bool = True
    reload: bool = False  # whether HTTP may ask for it


def run_daemon(options: RunOptions) -> int:
    """Run until the sources end or a signal; 0 for an ordered stop. Raises ConfigError, ModelError, SourceError, ..."""
    settings = _settings(options)
    setup(settings.logging.format, settings.logging.level)
    log = get()
    log.info("config.loaded", path=options.config or "defaults", findings=len(findings(settings)))
    with ExitStack() as stack:
        daemon = Daemon(options, settings, WallClock(), stack)
        daemon.catch_signals()
        log.info("daemon.started", version=__version__, sources=list(daemon.sources), sinks=daemon.outbox.sinks)
        try:
            daemon.run()
        except SourceError:
            raise
        except Exception:
            log.exception("daemon.failed")
            return SOFTWARE
    tell_end(daemon)
    return 0


def tell_end(daemon: Daemon) -> None:
    """The last line of the log: what was read, looked at and shed, and how late."""
    summary = daemon.monitor.summary()
    told = ("readings", "streams", "windows", "late", "coverage", "lag", "catching_up", "guarantee_violations")
    counts, came = daemon.monitor.parts.windows.counts, daemon.monitor.source_counts
    about: dict[str, object] = {"undecodable": came.get("undecodable", 0)}
    about |= {name: n for name in UNUSED if (n := counts.get(name, 0) or came.get(name, 0))}
    waiting = {name: each.waiting for name, each in daemon.outbox.counts().items() if each.waiting}
    about |= {"undelivered": waiting} if waiting else {}
    get().info("daemon.stopped", **{name: summary[name] for name in told}, **about)


def _settings(options: RunOptions) -> Settings:
    overrides = list(options.overrides)
    if options.rules:
        overrides.append(f"rule_files={list(options.rules)}")
    settings = load(options.config, overrides, need_sources=options.config is not None)
    if settings.sources:
        return settings
    return load(options.config, [*overrides, "sources=[{type: stdin}]"])


def loaded(options: RunOptions) -> Loaded:
    """The configuration as its files have it now, and its rules. Raises ConfigError."""
    settings = _settings(options)
    return Loaded(settings, rules_of(settings, _path(options)))


def _path(options: RunOptions) -> Path | None:
    return Path(options.config) if options.config else None


class Daemon:
    """One run: everything it holds, made in order and closed in the opposite one."""

    def __init__(
        self,
        options: RunOptions,
        settings: Settings,
        clock: Clock,
        stack: ExitStack,
        wrap: Callable[[Scorer], Scorer] = lambda own: own,
    ) -> None:
        """``wrap`` goes round the model: what a load test makes looks cost."""
        self.settings, self.stopping = settings, False
        self.world = world_of(clock, settings)
        self.scorer = scorer_of(settings)
        rules = rules_of(settings, _path(options))
        store = self._store(options)
        self.outbox = outbox_of(settings)
        scorer = None if self.scorer is None else wrap(self.scorer)
        world, recorder = self.world, None
        if options.record:
            recorder, world = recorder_to(options.record, settings, scorer, world)
            stack.callback(recorder.close)
        self.monitor = monitor_of(settings, world, rules, scorer, Cost())
        address = split_address(settings.server.listen) if options.web and settings.server.listen != "none" else None
        self.notifier = None if store is None else notifier_of(settings, self.outbox, _url(address))
        self.keeper = self._keeper(store)
        positions = self.keeper.restore()
        self.source, self.sources = sources_of(
            settings,
            self.world,
            _instance(store) if store else None,
            self.monitor.learn_until,
            self.keeper if isinstance(self.keeper, Shared) else None,
        )
        stack.callback(self.source.close)
        self.source.seek(positions)
        if store is not None and not self.settings.state.shared:
            remind(self.sources, store.positions())
        self.keeper.attach(self.source)
        ask = self._ask_reload if options.reload else None
        shown = publisher(self.monitor, settings, self.outbox, address, self.scorer, self.sources, self.notifier, ask)
        board = self._board = stack.enter_context(shown)
        tell = _and_show(teller(self.world.table, self.scorer), board)
        watch = Watch(self.sources, self.outbox, self.monitor.source_counts)
        self.loop = Loop(
            self.monitor, self.source, clock, self.world.partitions, self.keeper, tell, POLL, recorder,
            (board.publish, watch.look, self._answer, self._look_for_changes, *self._rosters()), self.notifier,
            MOST_TOLD,
        )  # fmt: skip
        if isinstance(self.keeper, Shared):
            self.keeper.dropping(self.loop.drop)
        self.reloader = Reloader(
            settings, _path(options), lambda: loaded(options), self.monitor, self.loop, board.reloaded, self._rerouter()
        )

    def _rerouter(self) -> Rerouter | None:
        if self.notifier is None:
            return None
        return Rerouter(self.settings, self.outbox, self.notifier, self.keeper.readdress, self._firing)

    def _firing(self) -> list[Message]:
        return [message(change) for change in self.monitor.firing()]

    def _ask_reload(self) -> Future[str]:
        return self.reloader.ask()

    def _look_for_changes(self, now: int) -> None:
        if not self.loop.midway:  # who is told must not change while a storm is told
            self.reloader.look(now)

    def _rosters(self) -> list[Callable[[int], None]]:
        """A worker tells its supervisor which groups it has."""
        folder = Path(self.settings.state.path)
        return [Roster(folder, self.world.table).look] if SUPERVISOR in os.environ else []

    def _store(self, options: RunOptions) -> Store | None:
        """State is kept where a configuration asks for a daemon; a bare pipe is forgotten when it ends."""
        return Store(Path(self.settings.state.path)) if options.config is not None else None

    def _keeper(self, store: Store | None) -> Durable | Passing:
        if store is None:
            return Passing(self.outbox)
        state, most = self.settings.state, (self.settings.outbox.messages, self.settings.outbox.bytes)
        every = state.commit, state.checkpoint
        parts = store, self.monitor, self.world.partitions, self.outbox, *every, most, self.notifier
        if not state.shared:
            return Durable(*parts)
        instance = _instance(store)
        return Shared(state_topic(self.settings, instance), shared_sinks(self.settings), instance, *parts)

    def _answer(self, now: int) -> None:
        if self.notifier is not None and not self.loop.midway:
            self.notifier.answer(now)

    def catch_signals(self) -> None:
        """SIGTERM and SIGINT end the run in order; SIGHUP takes in a changed configuration."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda number, frame: self.reloader.ask())

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopping:  # the second time: now
            raise KeyboardInterrupt
        self.stopping = True

    def run(self) -> None:
        """Turns until the end; then commit, deliver, close."""
        settle_memory()
        try:
            self.loop.run(lambda: self.stopping or _orphaned())
        finally:
            get().info("daemon.draining")
            self._board.draining()
            self.keeper.close(self.world.clock.now(), self.loop.progress, not self.loop.midway)


def settle_memory() -> None:
    """What is there now stays: the collector need not look through it in the middle of a storm of alerts."""
    gc.collect()
    gc.freeze()


def _url(address: tuple[str, int] | None) -> str:
    """Where people on this machine find the page, unless ``server.external_url`` says another."""
    if address is None:
        return ""
    host, port = address
    host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _orphaned() -> bool:
    """A worker whose supervisor is gone: nobody would stop it, and the next supervisor's would stand beside it."""
    supervisor = os.environ.get(SUPERVISOR)
    return supervisor is not None and os.getppid() != int(supervisor)


def _and_show(tell: Callable[[Told], Message], board: Publisher) -> Callable[[Told], Message]:
    """Messages also go to the page."""

    def told(change: Told) -> Message:
        message = tell(change)
        board.tell(message)
        return message

    return told


def _instance(store: Store) -> str:
    """An id that stays with the state folder, so that a restarted process gets its partitions back at once."""
    known: str | None = store.part("instance")
    if known is None:
        known = uuid.uuid4().hex[:12]
        store.commit(Commit(parts={"instance": known}))
    return f"heed-{known}"


class Watch:
    """Tells the log when a source or a sink can't be reached, and when it can again, and of lines it can't use."""

    def __init__(self, sources: dict[str, Source], outbox: Outbox, counts: Mapping[str, int]) -> None:
        self._sources, self._outbox, self._counts = sources, outbox, counts
        self._lost = counts.get("lost", 0)
        self._told: dict[tuple[str, str], bool] = {}
        self._remarked: set[str] = set()
        self._complained: dict[str, int] = {}  # by source: when a line that is no reading was last told of, ns

    def look(self, now: int) -> None:
        """After a turn."""
        self._tell("source", problems_of(self._sources), list(self._sources))
        self._tell("sink", self._outbox.problems(), self._outbox.sinks)
        if (lost := self._counts.get("lost", 0)) > self._lost:
            get().warning("reading.lost", records=lost - self._lost)
            self._lost = lost
        for name, source in self._sources.items():
            if (remark := getattr(source, "remark", None)) and name not in self._remarked:
                self._remarked.add(name)
                get().warning("source.slowed", name=name, reason=remark)
            take: Callable[[], list[Any]] | None = getattr(source, "take_bad", None)
            if take is not None and (bad := take()) and now - self._complained.get(name, 0) >= MINUTE:
                self._complained[name] = now
                about = {"offset": bad[-1].offset, "reason": bad[-1].reason, "problem": bad[-1].text}
                get().warning("reading.undecodable", name=name, **about)

    def _tell(self, kind: str, problems: dict[str, str], known: list[str]) -> None:
        for name in known:
            was, now = self._told.get((kind, name), False), name in problems
            self._told[kind, name] = now
            if now and not was:
                get().warning(f"{kind}.failed", name=name, problem=problems[name])
            elif was and not now:
                get().info(f"{kind}.recovered", name=name)
