"""Recordings of live runs: the writer, and a scorer that notes what each chunk cost."""

from __future__ import annotations

from collections.abc import Callable

from connectors.clock import Clock
from connectors.recording import RecordingWriter
from models.contract import Scorer
from stream.price import metered
from stream.settings import Settings, show

Wrap = Callable[[Scorer], Scorer]


def recorder_to(
    path: str, settings: Settings, scorer: Scorer | None, clock: Clock, judge_from: int, wrap: Wrap
) -> tuple[RecordingWriter, Wrap]:
    """The writer of a recording, and the wrap that also tells it the cost of every chunk."""
    writer = RecordingWriter(path, show(settings), scorer.digest if scorer is not None else "", judge_from)
    return writer, lambda own: metered(wrap(own), clock, writer.cost)
