"""`heed record`: what the sources bring into recordings, turn by turn, without looking at any of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.batch import SECOND, Batch
from connectors.clock import Clock, WallClock
from connectors.keeping.outbox import Outbox
from connectors.recordings.recording import RecordingWriter
from connectors.source import Source
from stream.app.daemon import POLL, Watch
from stream.app.parts import World, world_of
from stream.app.sources import sources_of
from stream.config_text import ConfigError
from stream.durations import parse_duration
from stream.log import get, setup
from stream.loop import FOREVER, Progress
from stream.settings import KafkaSource, Settings, load, show
from stream.settings.quantities import parse_size

DROPPED = ("group.instance.id",)  # of the daemon's, whose place it would take


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is long enough: bytes on disk, or ns; None = never."""

    size: int | None = None
    span: int | None = None

    def due(self, size: int, span: int) -> bool:
        """Whether a file of ``size`` bytes, begun ``span`` ns ago, is."""
        return (self.size is not None and size >= self.size) or (self.span is not None and span >= self.span)


def rotation(text: str) -> Rotation:
    """``100MB`` or ``1h``; raises ValueError."""
    if re.fullmatch(r"[\d.]+\s*([kKMGT]i?)?B", text.strip()):
        return Rotation(size=parse_size(text))
    try:
        return Rotation(span=parse_duration(text))
    except ValueError as error:
        raise ValueError(f"expected a size like 100MB or a duration like 1h, found {text}") from error


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What `heed record` was asked for; ``duration`` in ns."""

    config: str | None
    out: str
    duration: int | None = None
    rotate: Rotation | None = None
    overrides: Sequence[str] = ()


def run_record(options: RecordOptions) -> int:
    """Record until the sources end, the time is over or a signal; 0. Raises ConfigError, SourceError, SinkError."""
    settings = apart(load(options.config, options.overrides))
    setup(settings.logging.format, settings.logging.level)
    clock = WallClock()
    world = world_of(clock, settings)
    source, sources = sources_of(settings, world, None)
    with closing(source):
        recording = Recording(options, settings, source, world)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, recording.stop)
        watch = Watch(sources, Outbox({}), recording.counts)
        try:
            recording.run(clock, watch)
        finally:
            recording.close()
    return 0


def apart(settings: Settings) -> Settings:
    """The same sources in Kafka groups of their own: a recording takes no partition from a daemon."""
    sources = tuple(_apart(source) if isinstance(source, KafkaSource) else source for source in settings.sources)
    if not sources:
        raise ConfigError.of("nothing to record: the configuration has no sources")
    return settings.model_copy(update={"sources": sources})


def _apart(source: KafkaSource) -> KafkaSource:
    client = {name: value for name, value in source.client.items() if name not in DROPPED}
    client["group.id"] = f"{client.get('group.id', 'heed')}-record"
    return source.model_copy(update={"client": client, "dead_letter_topic": None})


class Recording:
    """One run of `heed record`: a file, or one after the other."""

    def __init__(self, options: RecordOptions, settings: Settings, source: Source, world: World) -> None:
        self._options, self._source, self._world = options, source, world
        self._config = show(settings)
        self._progress, self.counts = Progress(), dict[str, int]()
        self._stopping = False
        self._begun = world.clock.now()
        self._path, self._writer = self._open(self._begun)

    def stop(self, number: int, frame: Any) -> None:
        """Asked to, by a signal; the second time: now."""
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = True

    def run(self, clock: Clock, watch: Watch) -> None:
        """Poll and write until the end."""
        duration = self._options.duration
        end = FOREVER if duration is None else self._begun + duration
        now = clock.now()
        while not self._stopping and not self._source.done and now < end:
            batch = self._source.poll(min(now + POLL, end))
            now = clock.now()
            self._keep(now, batch)
            watch.look(now)

    def _keep(self, now: int, batch: Batch) -> None:
        for what, n in batch.counts.items():
            self.counts[what] = self.counts.get(what, 0) + n
        kept = dict(self._progress.positions)
        if self._writer.turn(now, batch, self._world.table, self._world.partitions):
            self._source.commit(kept)  # what came before this turn is on disk
        self._progress.note(batch, self._world.partitions.names)
        rotate = self._options.rotate
        if rotate is not None and rotate.due(self._writer.size, now - self._begun):
            self.close()
            self._path, self._writer = self._open(now)

    def _open(self, now: int) -> tuple[Path, RecordingWriter]:
        self._begun = now
        path = Path(self._options.out) if self._options.rotate is None else dated(Path(self._options.out), now)
        writer = RecordingWriter(path, self._config)
        get().info("recording.started", path=str(path))
        return path, writer

    def close(self) -> None:
        """Finish the file, and tell the brokers how far it goes."""
        if self._writer.closed:
            return
        self._writer.close()
        self._source.commit(self._progress.positions)
        about = {"readings": self._writer.readings, "bytes": self._path.stat().st_size}
        get().info("recording.closed", path=str(self._path), **about)


def dated(path: Path, now: int) -> Path:
    """``rec.parquet`` as ``rec-20260131T120000.123Z.parquet``: by when it begins (ns), so names sort as times do."""
    stamp = datetime.fromtimestamp(now // SECOND, UTC).strftime("%Y%m%dT%H%M%S")
    return path.with_name(f"{path.stem}-{stamp}.{now % SECOND // 1_000_000:03d}Z{path.suffix}")
