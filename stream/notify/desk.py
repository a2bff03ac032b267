"""Where the web thread leaves what it was asked to change, and the loop answers once it is on disk."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from stream.notify.silence import Silence, Wanted

MOST = 100  # requests that wait
Answer = dict[str, Any]


class Busy(Exception):
    """Too many requests wait, or the loop did not answer in time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A silence to add, one that another heed has, or the id of one to expire."""

    what: Wanted | Silence | str
    answer: Future[Answer]


class Desk:
    """Any thread asks; one loop takes, and answers after its commit."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Asked] = queue.Queue(MOST)

    def ask(self, what: Wanted | Silence | str) -> Future[Answer]:
        """The answer to come: a silence as the interface tells it, or SilenceError. Raises Busy."""
        asked = Asked(what, Future())
        try:
            self._waiting.put_nowait(asked)
        except queue.Full:
            raise Busy(f"{MOST} requests wait already") from None
        return asked.answer

    def take(self) -> list[Asked]:
        """What was asked since the last call, but for those who have gone away."""
        found = []
        while not self._waiting.empty():
            asked = self._waiting.get()
            if asked.answer.set_running_or_notify_cancel():
                found.append(asked)
        return found
