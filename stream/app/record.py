"""Recordings of live runs: every turn into a file, and every time that the monitor read its clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from connectors.batch import Batch
from connectors.clock import NotedClock
from connectors.recordings.recording import RecordingWriter
from connectors.sink import SinkError
from models.contract import Scorer
from stream.app.parts import World
from stream.log import get
from stream.settings import Settings, show


class Recorder:
    """The loop's recorder. A full disk ends the recording, never the run."""

    def __init__(self, writer: RecordingWriter, world: World) -> None:
        self._writer, self._world, self._failed = writer, world, False

    def turn(self, now: int, batch: Batch) -> None:
        """A turn begins."""
        self._try(lambda: self._writer.turn(now, batch, self._world.table, self._world.partitions))

    def time(self, now: int) -> None:
        """The monitor read the clock."""
        self._try(lambda: self._writer.time(now))

    def close(self) -> None:
        """Finish the file."""
        self._try(self._writer.close)

    def _try(self, write: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            write()
        except SinkError as error:
            self._failed = True
            get().error("sink.failed", name="recording", problem=str(error))


def recorder_to(
    path: str, settings: Settings, scorer: Scorer | None, world: World, judge_from: int = 0
) -> tuple[Recorder, World]:
    """The recorder of a run, and the world for its monitor, whose clock also tells the recorder what it shows.

    ``scorer`` as the monitor has it: its cost is where the run began to learn.
    """
    writer = RecordingWriter(path, show(settings), scorer.digest if scorer is not None else "", judge_from)
    if scorer is not None:
        writer.cost(scorer.cost)
    recorder = Recorder(writer, world)
    get().info("recording.started", path=path)
    return recorder, replace(world, clock=NotedClock(world.clock, recorder.time))
