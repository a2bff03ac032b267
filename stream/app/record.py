"""Recordings of live runs: every turn into a file, and a scorer that notes what each chunk cost."""

from __future__ import annotations

from collections.abc import Callable

from connectors.batch import Batch
from connectors.recording import RecordingWriter
from connectors.sink import SinkError
from models.contract import Scorer
from stream.app.parts import World
from stream.log import get
from stream.price import metered
from stream.settings import Settings, show

Wrap = Callable[[Scorer], Scorer]


class Recorder:
    """The loop's recorder. A full disk ends the recording, never the run."""

    def __init__(self, writer: RecordingWriter, world: World) -> None:
        self._writer, self._world, self._failed = writer, world, False

    def turn(self, now: int, batch: Batch) -> None:
        """A turn begins."""
        self._try(lambda: self._writer.turn(now, batch, self._world.table, self._world.partitions))

    def cost(self, seconds: float) -> None:
        """A chunk was scored."""
        self._try(lambda: self._writer.cost(seconds))

    def close(self) -> None:
        """Finish the file."""
        self._try(self._writer.close)

    def _try(self, write: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            write()
        except SinkError as error:
            self._failed = True
            get().error("sink.failed", name="recording", problem=str(error))


def recorder_to(
    path: str, settings: Settings, scorer: Scorer | None, world: World, judge_from: int, wrap: Wrap
) -> tuple[Recorder, Wrap]:
    """The recorder of a run, and the wrap that also tells it the cost of every chunk."""
    writer = RecordingWriter(path, show(settings), scorer.digest if scorer is not None else "", judge_from)
    recorder = Recorder(writer, world)
    get().info("recording.started", path=path)
    return recorder, lambda own: metered(wrap(own), world.clock, recorder.cost)
