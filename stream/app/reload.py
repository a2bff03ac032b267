"""Taking in a changed configuration while heed runs: check first, swap whole, and keep what was where that fails."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stream.app.parts import intervals_of
from stream.app.rerouting import Rerouter
from stream.config_text import ConfigError
from stream.log import get, setup
from stream.loop import Loop
from stream.monitor import Monitor
from stream.rules.rule import Rule
from stream.settings import Settings, config_files, rule_paths
from stream.turn import Turn

TAKEN_IN = ("rule_files", "logging", "reload", "receivers", "route")  # need no restart; nor does what rule files hold
CLOSED = "time_intervals"  # rules and routes take it in, streams that are `closed` do not


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two sets of rules, by rule key."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: int

    @classmethod
    def between(cls, old: Iterable[Rule], new: Iterable[Rule]) -> Difference:
        before, after = ({rule.key: replace(rule, file="", line=0) for rule in rules} for rules in (old, new))
        both = [key for key in after if key in before]
        changed = [key for key in both if after[key] != before[key]]
        removed = [key for key in before if key not in after]
        return cls([key for key in after if key not in before], changed, removed, len(both) - len(changed))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read and checked."""

    settings: Settings
    rules: list[Rule]


class Watched:
    """Contents of files; a file is read again only where its time, size or inode differ."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def contents(self, files: Iterable[Path]) -> dict[Path, str]:
        """A digest of each file, "" where it can't be read."""
        self._known = {path: self._look(path) for path in files}
        return {path: digest for path, (_, digest) in self._known.items()}

    def _look(self, path: Path) -> tuple[tuple[int, int, int], str]:
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            known = self._known.get(path)
            return known if known is not None and known[0] == seen else (seen, _digest(path))
        except OSError:
            return (0, 0, 0), ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Reloader:
    """Reloads when asked to, and when the content of a file has changed; its ``look`` is called after each turn.

    ``config`` is the file or folder that ``load`` reads; that checks everything, and raises ConfigError. ``tell`` hears
    how the last one went, and when (ns). ``rerouter`` exchanges receivers and routes; None where nobody is told.
    """

    def __init__(
        self,
        running: Settings,
        config: Path | None,
        load: Callable[[], Loaded],
        monitor: Monitor,
        loop: Loop,
        tell: Callable[[bool, int], None],
        rerouter: Rerouter | None = None,
    ) -> None:
        self._rerouter = rerouter
        self._running, self._config, self._load = running, config, load
        self._monitor, self._loop, self._tell = monitor, loop, tell
        self._asked: deque[Future[str]] = deque()
        self._watched = Watched()
        self._contents: Mapping[Path, str] = self._watched.contents(self._files())
        self._looked = 0  # when files were last looked at, ns
        self._log = get()

    def _files(self) -> list[Path]:
        """All files that the configuration in force comes from, as far as they are there."""
        found: list[Path] = []
        with suppress(ConfigError):
            found += [] if self._config is None else config_files(self._config)
            found += rule_paths(self._running, self._config.parent if self._config else Path())
        return found

    def ask(self) -> Future[str]:
        """Reload after the turn under way, from any thread; the result says what was done, or raises ConfigError."""
        found: Future[str] = Future()
        self._asked.append(found)
        return found

    def look(self, now: int) -> None:
        """After a turn at ``now`` (ns)."""
        poll = self._running.reload.poll
        if self._asked:
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            self._contents = self._watched.contents(self._files())
            self._answer(asked, now)
        elif poll and now - self._looked >= poll:
            contents = self._watched.contents(self._files())
            if contents != self._contents:
                self._contents = contents
                self._answer([], now)
            self._looked = now

    def _answer(self, asked: Sequence[Future[str]], now: int) -> None:
        try:
            said = self._reload(now)
        except ConfigError as error:
            self._log.error("config.rejected", problem=str(error), goes_on_with=len(self._monitor.parts.alerts.rules))
            self._tell(False, now)
            for future in asked:
                future.set_exception(error)
            return
        self._tell(True, now)
        for future in asked:
            future.set_result(said)

    def _reload(self, now: int) -> str:
        """Nothing is touched before all is known to be right."""
        loaded = self._load()
        change = None if self._rerouter is None else self._rerouter.prepare(loaded.settings)
        difference = Difference.between(self._monitor.parts.alerts.rules, loaded.rules)
        restart = _needs_restart(self._running, loaded.settings)
        if self._rerouter is not None and change is not None:
            self._rerouter.take_in(change)
        self._loop.take(_replaced(self._monitor, loaded), now)
        said = self._say(difference, restart, {} if change is None else change.told)
        self._take_in(loaded.settings)
        return said

    def _take_in(self, settings: Settings) -> None:
        if settings.logging != self._running.logging:
            setup(settings.logging.format, settings.logging.level)
        self._running = self._running.model_copy(update={key: getattr(settings, key) for key in TAKEN_IN})

    def _say(self, found: Difference, restart: list[str], others: Mapping[str, list[str]]) -> str:
        """``others``: what changed beside rules."""
        about = {"added": found.added, "changed": found.changed, "removed": found.removed, **others}
        told = {name: keys for name, keys in about.items() if keys}
        if restart:
            self._log.warning("config.restart_needed", keys=restart)
        self._log.info("config.reloaded" if told else "config.unchanged", **told, unchanged=found.unchanged)
        lines = [f"{name.replace('_', ' ')}: {', '.join(keys)}" for name, keys in told.items()] or ["no rule changed"]
        return "\n".join([*lines, *([f"needs a restart: {', '.join(restart)}"] if restart else [])])


def _replaced(monitor: Monitor, loaded: Loaded) -> Turn:
    """Other rules from now on; what fires under one that is gone or changed is resolved."""
    turn = Turn()
    monitor.owed.replace_rules(loaded.rules, monitor.last_tick, intervals_of(loaded.settings))
    monitor.owed.settle(turn)
    return turn


def _needs_restart(running: Settings, wanted: Settings) -> list[str]:
    """Keys that differ and are not taken in."""
    closed = any(entry.closed for entry in running.streams)
    known = [name for name in Settings.model_fields if name not in TAKEN_IN and (closed or name != CLOSED)]
    return [name for name in known if getattr(running, name) != getattr(wanted, name)]
