"""Messages on their way to sinks: a thread for each sink, so that a slow one delays nobody else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence

from connectors.clock import Stopwatch
from connectors.sink import Message, Sink

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0  # between two tries
MOST_AT_ONCE = 500  # messages


class Outbox:
    """Delivers at least once, in order per sink; a message that fails is tried again until the outbox is closed.

    Messages have ids given by whoever keeps them durable; ``take_sent`` tells which need no longer be kept.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._couriers = {name: _Courier(sink) for name, sink in sinks.items()}
        self._for_nobody: list[int] = []

    @property
    def sinks(self) -> list[str]:
        """Names of the sinks."""
        return list(self._couriers)

    def put(self, messages: Sequence[tuple[int, str, Message]]) -> None:
        """Messages to send: id, name of the sink, message. Those for a sink that is gone count as sent."""
        for number, name, message in messages:
            if name in self._couriers:
                self._couriers[name].put(number, message)
            else:
                self._for_nobody.append(number)

    def take_sent(self) -> list[int]:
        """Ids delivered since the last call."""
        nobody, self._for_nobody = self._for_nobody, []
        return nobody + [number for courier in self._couriers.values() for number in courier.take_sent()]

    def problems(self) -> dict[str, str]:
        """Sinks that can't be reached now, and why."""
        return {name: courier.problem for name, courier in self._couriers.items() if courier.problem}

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """By sink: delivered, failed tries, waiting."""
        return {n: (c.delivered, c.failed, c.left) for n, c in self._couriers.items()}

    def close(self, patience_s: float = 10.0) -> bool:
        """Wait for what is under way, ``patience_s`` for all sinks together, then stop.

        False where something is left; it stays durable.
        """
        watch = Stopwatch()
        for courier in self._couriers.values():
            courier.finish()
        for courier in self._couriers.values():
            courier.close(max(0.0, patience_s - watch.seconds()))
        return all(courier.left == 0 for courier in self._couriers.values())


class _Courier(threading.Thread):
    """One sink's thread."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(name=f"outbox-{sink.name}", daemon=True)
        self.sink = sink
        self._waiting: queue.SimpleQueue[tuple[int, Message] | None] = queue.SimpleQueue()
        self.problem = ""
        self.put_in = self.delivered = self.failed = 0  # each written by one thread only
        self._sent: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop_now = threading.Event()
        self.start()

    @property
    def left(self) -> int:
        """Messages that are not delivered yet."""
        return self.put_in - self.delivered

    def put(self, number: int, message: Message) -> None:
        self.put_in += 1
        self._waiting.put((number, message))

    def run(self) -> None:
        while not self._stop_now.is_set():
            batch, last = self._gather()
            if batch and not self._deliver(batch):
                return
            if last:
                return

    def _gather(self) -> tuple[list[tuple[int, Message]], bool]:
        """What waits, at least one message; and whether the end was reached."""
        found = [self._waiting.get()]
        while found[-1] is not None and len(found) < MOST_AT_ONCE and not self._waiting.empty():
            found.append(self._waiting.get())
        return [item for item in found if item is not None], found[-1] is None

    def _deliver(self, batch: list[tuple[int, Message]]) -> bool:
        """Send all; after a failure fewer at once, so that a message that never gets through holds back none before."""
        pause, most = FIRST_PAUSE_S, len(batch)
        while batch:
            if self._sent_all(batch[:most]):
                batch = batch[most:]
                pause = FIRST_PAUSE_S
                continue
            most = max(1, most // 2)
            if self._stop_now.wait(pause):
                return False
            pause = min(2 * pause, LONGEST_PAUSE_S)
        return True

    def _sent_all(self, batch: list[tuple[int, Message]]) -> bool:
        try:
            self.sink.send([message for _, message in batch])
        except Exception as error:  # a sink of any kind may fail in any way; nothing is lost by trying again
            self.problem = str(error) or type(error).__name__
            self.failed += 1
            return False
        self.problem = ""
        for number, _ in batch:
            self._sent.put(number)
        self.delivered += len(batch)
        return True

    def take_sent(self) -> list[int]:
        found = []
        while not self._sent.empty():
            found.append(self._sent.get())
        return found

    def finish(self) -> None:
        """Stop when all that waits is delivered."""
        self._waiting.put(None)

    def close(self, patience_s: float) -> None:
        """Stop when all is delivered or ``patience_s`` is over."""
        self.join(patience_s)
        self._stop_now.set()
        try:
            self.sink.close()
        except Exception as error:  # the other sinks still have to be closed
            self.problem = str(error) or type(error).__name__
