"""Messages on their way to sinks: a thread for each sink, so that a slow one delays nobody else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence

from connectors.sink import Message, Sink

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0  # between two tries
MOST_AT_ONCE = 500  # messages


class Outbox:
    """Delivers at least once, in order per sink; a message that fails is tried again until the outbox is closed.

    Messages have ids given by whoever keeps them durable; ``take_sent`` tells which need no longer be kept.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._couriers = {name: _Courier(sink) for name, sink in sinks.items()}

    @property
    def sinks(self) -> list[str]:
        """Names of the sinks."""
        return list(self._couriers)

    def put(self, messages: Sequence[tuple[int, str, Message]]) -> None:
        """Messages to send: id, name of the sink, message. Those for a sink that is gone count as sent."""
        for number, name, message in messages:
            if name in self._couriers:
                self._couriers[name].waiting.put((number, message))

    def take_sent(self) -> list[int]:
        """Ids delivered since the last call."""
        return [number for courier in self._couriers.values() for number in courier.take_sent()]

    def problems(self) -> dict[str, str]:
        """Sinks that can't be reached now, and why."""
        return {name: courier.problem for name, courier in self._couriers.items() if courier.problem}

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """By sink: delivered, failed tries, waiting."""
        return {n: (c.delivered, c.failed, c.waiting.unfinished_tasks) for n, c in self._couriers.items()}

    def close(self, patience_s: float = 10.0) -> bool:
        """Wait for what is under way, then stop; false where something is left (it stays durable)."""
        closed = [courier.close(patience_s) for courier in self._couriers.values()]  # every one, not up to the first
        return all(closed)


class _Courier(threading.Thread):
    """One sink's thread."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(name=f"outbox-{sink.name}", daemon=True)
        self.sink = sink
        self.waiting: queue.Queue[tuple[int, Message] | None] = queue.Queue()
        self.problem = ""
        self.delivered = self.failed = 0
        self._sent: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop_now = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_now.is_set():
            batch, last = self._gather()
            if batch and not self._deliver(batch):
                return
            if last:
                return

    def _gather(self) -> tuple[list[tuple[int, Message]], bool]:
        """What waits, at least one message; and whether the end was reached."""
        found = [self.waiting.get()]
        while found[-1] is not None and len(found) < MOST_AT_ONCE and not self.waiting.empty():
            found.append(self.waiting.get())
        return [item for item in found if item is not None], found[-1] is None

    def _deliver(self, batch: list[tuple[int, Message]]) -> bool:
        pause = FIRST_PAUSE_S
        while True:
            try:
                self.sink.send([message for _, message in batch])
            except Exception as error:  # a sink of any kind may fail in any way; nothing is lost by trying again
                self.problem = str(error) or type(error).__name__
                self.failed += 1
                if self._stop_now.wait(pause):
                    return False
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            self._done(batch)
            return True

    def _done(self, batch: list[tuple[int, Message]]) -> None:
        self.problem = ""
        self.delivered += len(batch)
        for number, _ in batch:
            self._sent.put(number)
            self.waiting.task_done()

    def take_sent(self) -> list[int]:
        found = []
        while not self._sent.empty():
            found.append(self._sent.get())
        return found

    def close(self, patience_s: float) -> bool:
        self.waiting.put(None)
        self.join(patience_s)
        alive = self.is_alive()
        self._stop_now.set()
        self.sink.close()
        return not alive and not self.problem
