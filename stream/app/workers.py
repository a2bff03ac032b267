"""`heed run --workers N`: several processes in one consumer group on one host, each with state of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.clock import Clock, WallClock
from stream import __version__
from stream.app import roster
from stream.app.daemon import SUPERVISOR, RunOptions
from stream.app.shared_silences import SharedSilences
from stream.app.siblings import Sibling, Siblings
from stream.app.sources import MEMBER
from stream.config_text import ConfigError
from stream.log import WORKER, get, setup
from stream.settings import KafkaSource, Settings, load, split_address

CONFIG = 78  # exit code: started again it would fail again
SECOND = 1_000_000_000  # ns
FIRST_PAUSE, LONGEST_PAUSE = SECOND, 30 * SECOND  # before a worker that died is started again
STEADY = 60 * SECOND  # up for so long: the next death is a first one
LOOK = SECOND // 5  # between two looks at the workers
COMPARE = roster.EVERY + SECOND  # between two looks at which groups they have
SPREAD = 2 * SECOND  # between two looks at whether all know of all silences
FINE = (0, CONFIG, -signal.SIGTERM)  # ends of a worker that was told to stop; the last one: it had not begun yet
PATIENCE_S = 40.0  # for workers that were told to stop: they commit and deliver


@dataclass(slots=True)
class Worker:
    """One process: what starts it, and how it has fared. Times in ns of the supervisor's clock."""

    number: int
    command: Sequence[str]
    port: int  # of its HTTP interface on 127.0.0.1, 0 = none
    folder: Path  # of its state
    process: subprocess.Popen[bytes] | None = None
    began: int = 0
    pause: int = FIRST_PAUSE
    due: int = 0  # when it is started again
    restarts: int = 0

    def start(self, now: int) -> None:
        """Begin; its log lines carry its number."""
        roster.forget(self.folder)
        env = os.environ | {WORKER: str(self.number), SUPERVISOR: str(os.getpid())}
        self.process = subprocess.Popen(self.command, env=env, start_new_session=True)
        self.began, self.due = now, 0

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def died(self, now: int) -> int | None:
        """Its exit code when it is seen dead for the first time; then it is due again after a pause."""
        if self.process is None or self.due or (code := self.process.poll()) is None:
            return None
        self.pause = FIRST_PAUSE if now - self.began >= STEADY else self.pause
        self.due, self.pause = now + self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return code

    def tell(self, number: int) -> None:
        """Send it a signal if it lives."""
        if self.up and self.process is not None:
            self.process.send_signal(number)


@dataclass(slots=True)
class Supervisor:
    """Starts workers, starts dead ones again, stops all in order."""

    workers: Sequence[Worker]
    clock: Clock
    watch: Callable[[int], None] = lambda now: None  # called with the time after each look
    stopping: bool = False
    code: int = 0
    _signals: list[int] = field(default_factory=list)

    def run(self) -> int:
        """Until told to stop, or a worker says that its configuration is wrong; the exit code."""
        for worker in self.workers:
            worker.start(self.clock.now())
        while not self.stopping:
            self._look(self.clock.now())
            self.watch(self.clock.now())
            self.clock.wait(self.clock.now() + LOOK)
        self._stop()
        return self.code

    def catch_signals(self) -> None:
        """SIGTERM and SIGINT stop all workers in order; SIGHUP is passed on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        signal.signal(signal.SIGHUP, lambda number, frame: self._signals.append(number))

    def _told(self, number: int, frame: Any) -> None:
        self.stopping = True

    def _look(self, now: int) -> None:
        while self._signals:
            number = self._signals.pop()
            for worker in self.workers:
                worker.tell(number)
        for worker in self.workers:
            code = worker.died(now)
            if code is not None:
                self._mourn(worker, code, now)
            if worker.due and now >= worker.due:
                worker.restarts += 1
                worker.start(now)

    def _mourn(self, worker: Worker, code: int, now: int) -> None:
        if code == CONFIG:
            get().error("worker.refused", worker=worker.number, exit_code=code)
            self.stopping, self.code = True, code
            return
        get().warning("worker.died", worker=worker.number, exit_code=code, again_s=round((worker.due - now) / 1e9, 1))

    def _stop(self) -> None:
        get().info("daemon.draining")
        running = [worker for worker in self.workers if worker.up]  # what became of others was told when they died
        for worker in running:
            worker.tell(signal.SIGTERM)
        end = self.clock.now() + int(PATIENCE_S * SECOND)
        while any(worker.up for worker in self.workers) and self.clock.now() < end:
            self.clock.wait(self.clock.now() + LOOK // 4)
        for worker in running:
            worker.tell(signal.SIGKILL)
            if worker.process is not None and worker.process.wait() not in FINE and not self.code:
                self.code = 70


def run_workers(options: RunOptions, n: int) -> int:
    """Run ``n`` workers until a signal; 0 for an ordered stop. Raises ConfigError, WebError."""
    settings = _checked(options)
    setup(settings.logging.format, settings.logging.level)
    clock = WallClock()
    workers = [_worker(options, settings, i, _free_port() if options.web else 0) for i in range(n)]
    spread = roster.Spread(lambda: [worker.folder for worker in workers if worker.up])
    each = [Sibling(w.number, w.port, lambda w=w: (w.up, w.restarts)) for w in workers]  # type: ignore[misc]
    siblings = Siblings(each, spread)
    silences = SharedSilences(siblings.each)
    supervisor = Supervisor(workers, clock, _watching(spread, silences if options.web else None))
    supervisor.catch_signals()
    with ExitStack() as stack:
        if options.web and settings.server.listen != "none":
            _serve(siblings, silences, options.reload, settings, stack)
        get().info("daemon.started", version=__version__, workers=n)
        return supervisor.run()


def _checked(options: RunOptions) -> Settings:
    if options.config is None:
        raise ConfigError.of("--workers: several processes share a Kafka topic, so a configuration is needed: -c FILE")
    if options.record:
        raise ConfigError.of("--record: a recording is of one process; record with --workers 1")
    settings = load(options.config, list(options.overrides))
    others = sorted({source.type for source in settings.sources} - {"kafka"})
    if others:
        raise ConfigError.of(f"--workers: only Kafka deals its partitions out; the sources have {', '.join(others)}")
    return settings


def _worker(options: RunOptions, settings: Settings, number: int, port: int) -> Worker:
    listen = f"127.0.0.1:{port}" if port else "none"
    folder = Path(settings.state.path) / f"worker-{number}"
    own = [f"state.path={folder}", f"server.listen={listen}"]
    if settings.state.shared is None and len(settings.sources) == 1 and _can_share(settings.sources[0]):
        own.append("state.shared=true")
    own += _members(settings, number)
    command = [sys.executable, "-m", "stream.cli", "run", "-c", str(options.config)]
    command += [part for text in (*options.overrides, *own) for part in ("--set", text)]
    command += [part for rule in options.rules for part in ("--rules", rule)]
    command += ["--enable-reload"] if options.reload else []
    return Worker(number, command, port, folder)


def _members(settings: Settings, number: int) -> list[str]:
    """An id of the group that ``client`` names, with the worker's number behind it: no two may have the same."""
    named = {i: each.client.get(MEMBER) for i, each in enumerate(settings.sources) if isinstance(each, KafkaSource)}
    return [f'sources[{i}].client["{MEMBER}"]={json.dumps(f"{own}-{number}")}' for i, own in named.items() if own]


def _can_share(source: object) -> bool:
    return isinstance(source, KafkaSource) and source.client_library == "kafka-python"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _serve(siblings: Siblings, silences: SharedSilences, reloads: bool, settings: Settings, stack: ExitStack) -> None:
    from stream.web.server import WebServer  # only those who serve pay for its import
    from stream.web.together import together

    server = WebServer(together(siblings, silences, reloads), *split_address(settings.server.listen))
    server.start()
    stack.callback(server.stop)


def _watching(spread: roster.Spread, silences: SharedSilences | None) -> Callable[[int], None]:
    """What is done now and then about the workers as a whole; without HTTP they have no ``silences``."""
    compare, last = _compare(spread), [0]

    def watch(now: int) -> None:
        compare(now)
        if silences is not None and now - last[0] >= SPREAD:
            silences.spread()
            last[0] = now

    return watch


def _compare(spread: roster.Spread) -> Callable[[int], None]:
    """Looks now and then whether a group's streams came to different workers, and says so when that changes."""
    last, told = [0], [0]

    def compare(now: int) -> None:
        if now - last[0] < COMPARE:
            return
        last[0] = now
        found = spread.look()
        if len(found) != told[0]:
            told[0] = len(found)
            get().warning("group.spread", groups=len(found), examples=found[:5])

    return compare
