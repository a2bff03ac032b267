"""What the loop shows the page and the metrics: a snapshot now and then, and the server that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from connectors.outbox import Outbox
from connectors.source import Source
from models.contract import Scorer
from stream.monitor import Monitor
from stream.settings import Settings


class Publisher:
    """Publishes nothing yet."""

    url: str | None = None

    def publish(self, now: int) -> None:
        """After a turn."""

    def draining(self) -> None:
        """The run ends."""


@contextmanager
def publisher(
    monitor: Monitor,
    settings: Settings,
    outbox: Outbox,
    address: tuple[str, int] | None,
    scorer: Scorer | None,
    sources: Mapping[str, Source],
) -> Iterator[Any]:
    """The page and the HTTP interface on 127.0.0.1, for as long as the run lasts."""
    yield Publisher()
